package scenario_test

import "encoding/hex"

func hexOf(sum [32]byte) string { return hex.EncodeToString(sum[:]) }
