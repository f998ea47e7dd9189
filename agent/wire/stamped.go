package wire

// stamped notes when the kernel received the last segment of the connection's latest read.
func (ex *Exchange) stamped(raw *rawConn) {
	if raw.wall != 0 {
		raw.stamp = raw.stamps.Instant(raw.wall, raw.last)
		raw.wall = 0 // once a read, however many pieces come of it
		if !raw.stamp.Reached() {
			ex.StampsDropped++
		}
	}
	ex.Stamp = raw.stamp
}
