package rules

import (
	"fmt"
	"strings"
)

// maxApp bounds an app's name, which is also the name of a file.
const maxApp = 64

// AppName returns the name of the app that a program's path stands for: its
// base name, with every byte outside A-Za-z0-9._+- replaced by '_', at most 64
// bytes, never empty. CheckAppName accepts it.
func AppName(path string) string {
	base := strings.TrimRight(path, "/")
	base = base[strings.LastIndexByte(base, '/')+1:]
	name := []byte(base[:min(len(base), maxApp)])
	for i, c := range name {
		if !isAppByte(c) || i == 0 && (c == '.' || c == '-') {
			name[i] = '_'
		}
	}
	if len(name) == 0 {
		return "_"
	}
	return string(name)
}

// CheckAppName says why a name that somebody gave is not an app's name.
func CheckAppName(s string) error {
	switch {
	case s == "":
		return fmt.Errorf("app name is empty")
	case len(s) > maxApp:
		return fmt.Errorf("app name %s: longer than %d bytes", quote(s), maxApp)
	case s[0] == '.' || s[0] == '-':
		return fmt.Errorf("app name %s: starts with %q", quote(s), s[0])
	}
	for i := range len(s) {
		if !isAppByte(s[i]) {
			return fmt.Errorf("app name %s: only letters, digits and . _ + - may stand in it", quote(s))
		}
	}
	return nil
}

func isAppByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
		strings.IndexByte("._+-", c) >= 0
}
