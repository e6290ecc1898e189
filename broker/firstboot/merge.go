package firstboot

import (
	"regexp"
	"slices"
	"strings"

	"github.com/quaymaster/quaymaster/broker/config"
)

// mergers are the parts of "list(append)+dict(recurse_list)".
var mergers = regexp.MustCompile(`([a-z]+)\(([^)]*)\)`)

// merged is what cloud-init makes of the write_files of one part and the next
// ("Merging user data sections" in its documentation, and its mergers). Only
// somebody who asks for it gets both; the next replaces what was before if
// nobody says anything.
func merged(before, next []config.WriteFile, how string) []config.WriteFile {
	options := map[string]string{}
	for _, merger := range mergers.FindAllStringSubmatch(strings.ToLower(how), -1) {
		if _, said := options[merger[1]]; !said {
			options[merger[1]] = "," + strings.ReplaceAll(merger[2], " ", "") + ","
		}
	}
	has := func(merger string, names ...string) bool {
		return slices.ContainsFunc(names, func(name string) bool { return strings.Contains(options[merger], ","+name+",") })
	}
	switch {
	case len(options) == 0 || has("dict", "replace"):
		return next
	case !has("dict", "recurse_list", "recurse_array") || options["list"] == "":
		return before
	case has("list", "append"):
		return slices.Concat(before, next)
	case has("list", "prepend"):
		return slices.Concat(next, before)
	case has("list", "no_replace") && !has("list", "replace"):
		return before
	}
	return slices.Concat(next[:min(len(next), len(before))], before[min(len(next), len(before)):])
}
