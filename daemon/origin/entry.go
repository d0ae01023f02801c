package origin

import (
	"bytes"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/netjail/netjail/notifier"
)

// Limits on what is read of desktop entries, which anybody may have written.
const (
	maxEntry   = 256 << 10
	maxEntries = 5000
)

// dataDirs returns the directories of the XDG Base Directory Specification,
// the user's own last: what a jailed program has written there is not to come
// before what the administrator has installed.
func dataDirs(home string) []string {
	dirs := os.Getenv("XDG_DATA_DIRS")
	if dirs == "" {
		dirs = "/usr/local/share:/usr/share"
	}
	own := os.Getenv("XDG_DATA_HOME")
	if own == "" && home != "" {
		own = filepath.Join(home, ".local/share")
	}
	var list []string
	for _, dir := range append(filepath.SplitList(dirs), own) {
		if filepath.IsAbs(dir) {
			list = append(list, dir)
		}
	}
	return list
}

// entryOf returns what the desktop entry that starts an app says of it.
func entryOf(dirs []string, app fs.FileInfo) notifier.About {
	for _, dir := range dirs {
		var best notifier.About
		least, left := -1, maxEntries
		_ = filepath.WalkDir(filepath.Join(dir, "applications"), func(path string, d fs.DirEntry, err error) error {
			if left--; left < 0 {
				return fs.SkipAll
			}
			if err != nil || d.IsDir() || filepath.Ext(path) != ".desktop" {
				return nil // what cannot be read is not there
			}
			text, trusted, ok := readEntry(path)
			if !ok {
				return nil
			}
			e, ok := parseEntry(text)
			if !ok {
				return nil
			}
			if n, ok := e.starts(app); ok && (least < 0 || n < least) {
				least, best = n, notifier.About{Title: e.name, Icon: iconOf(e.icon, trusted)}
			}
			return nil
		})
		if least >= 0 {
			return best
		}
	}
	return notifier.About{}
}

// readEntry reads a file. It is trusted if root has written it.
func readEntry(path string) (text []byte, trusted, ok bool) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // it may be a pipe
	if err != nil {
		return nil, false, false
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxEntry {
		return nil, false, false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	text, err = io.ReadAll(io.LimitReader(f, maxEntry))
	return text, ok && st.Uid == 0, err == nil
}

// entry is the part of a desktop entry that matters here, see the Desktop Entry
// Specification.
type entry struct {
	name, icon, tryExec string
	exec                []string
	noDisplay           bool
}

// parseEntry reads the group [Desktop Entry]. ok is false if it describes no
// application.
func parseEntry(text []byte) (e entry, ok bool) {
	inside := false
	var kind, hidden string
	for line := range bytes.Lines(text) {
		s := strings.TrimSpace(string(line))
		if strings.HasPrefix(s, "[") {
			if inside {
				break
			}
			inside = s == "[Desktop Entry]"
			continue
		}
		key, value, found := strings.Cut(s, "=")
		if !inside || !found || strings.HasPrefix(s, "#") {
			continue
		}
		value = unescape(strings.TrimSpace(value))
		switch strings.TrimSpace(key) {
		case "Type":
			kind = value
		case "Name":
			e.name = value
		case "Icon":
			e.icon = value
		case "Exec":
			e.exec = words(value)
		case "TryExec":
			e.tryExec = value
		case "NoDisplay":
			e.noDisplay = value == "true"
		case "Hidden":
			hidden = value
		}
	}
	return e, kind == "Application" && hidden != "true" && e.name != ""
}

var escapes = strings.NewReplacer(`\s`, " ", `\n`, "\n", `\t`, "\t", `\r`, "\r", `\\`, `\`)

// unescape reads a value of type string.
func unescape(s string) string { return escapes.Replace(s) }

// words splits the value of Exec.
func words(s string) []string {
	var list []string
	var word strings.Builder
	begun, quoted, escaped := false, false, false
	for _, r := range s {
		switch {
		case escaped:
			escaped = false
			word.WriteRune(r)
		case quoted && r == '\\':
			escaped = true
		case r == '"':
			begun, quoted = true, !quoted
		case r == ' ' && !quoted:
			if begun {
				list = append(list, word.String())
			}
			word.Reset()
			begun = false
		default:
			begun = true
			word.WriteRune(r)
		}
	}
	if begun {
		list = append(list, word.String())
	}
	return list
}

// starts says whether an entry starts an app, and with how much besides files to
// open. An interpreter is not the app: sh is not what "sh -c vim" starts.
func (e entry) starts(app fs.FileInfo) (extra int, ok bool) {
	args := e.exec
	if len(args) > 0 && filepath.Base(args[0]) == "env" {
		for args = args[1:]; len(args) > 0 && strings.Contains(args[0], "="); {
			args = args[1:]
		}
	}
	if e.noDisplay {
		extra++
	}
	if len(args) > 0 && isFile(args[0], app) {
		ok = true
		for _, arg := range args[1:] {
			ok = ok && (strings.HasPrefix(arg, "-") || strings.HasPrefix(arg, "%"))
			if !strings.HasPrefix(arg, "%") {
				extra++
			}
		}
	}
	if ok {
		return extra, true
	}
	return extra + len(args), e.tryExec != "" && isFile(e.tryExec, app)
}

// isFile says whether a program's name, or path, is a file's.
func isFile(name string, file fs.FileInfo) bool {
	if name == "" {
		return false
	}
	if filepath.IsAbs(name) {
		at, err := os.Stat(name)
		return err == nil && os.SameFile(at, file)
	}
	if strings.Contains(name, "/") {
		return false
	}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		at, err := os.Stat(filepath.Join(dir, name))
		if err == nil && at.Mode().IsRegular() && at.Mode()&0o111 != 0 {
			return os.SameFile(at, file)
		}
	}
	return false
}

// iconOf returns a value of Icon as notifications have it: a name, or the URI
// of a file. What opens that file is in no jail, so it must be root's choice.
func iconOf(icon string, trusted bool) string {
	if filepath.IsAbs(icon) {
		if !trusted {
			return ""
		}
		return (&url.URL{Scheme: "file", Path: filepath.Clean(icon)}).String()
	}
	for _, r := range icon {
		if r >= 0x7f || r <= ' ' || strings.ContainsRune(`/\:"'<>&%`, r) {
			return ""
		}
	}
	return icon
}
