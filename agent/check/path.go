package check

import "github.com/loadline/loadline/internal/scenario"

// follow walks a path through a value decoded by encoding/json. It reports whether it leads anywhere.
func follow(path scenario.JSONPath, v any) (any, bool) {
	for _, step := range path {
		if step.Index >= 0 {
			list, ok := v.([]any)
			if !ok || step.Index >= len(list) {
				return nil, false
			}
			v = list[step.Index]
			continue
		}
		members, ok := v.(map[string]any)
		if !ok {
			return nil, false
		}
		if v, ok = members[step.Member]; !ok {
			return nil, false
		}
	}
	return v, true
}
