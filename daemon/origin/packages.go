package origin

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// packageOf returns the package that owns a path, or "" if none does. known is
// false where no package manager could say.
func (f *Finder) packageOf(ctx context.Context, path string) (name string, known bool) {
	if name, known = dpkgOwner(ctx, f.cfg.DpkgInfo, path); known {
		return name, true
	}
	return rpmOwner(ctx, f.cfg.Rpm, path)
}

// dpkgOwner looks for a path in dpkg's lists of files, one for each package.
func dpkgOwner(ctx context.Context, info, path string) (name string, known bool) {
	files, err := os.ReadDir(info)
	if err != nil {
		return "", false
	}
	paths := spellings(path)
	var list bytes.Buffer
	for _, file := range files {
		name, ok := strings.CutSuffix(file.Name(), ".list")
		if !ok {
			continue
		}
		if ctx.Err() != nil {
			return "", false
		}
		list.Reset()
		if !read(&list, filepath.Join(info, file.Name())) {
			continue // removed meanwhile
		}
		known = true
		for _, p := range paths {
			if hasLine(list.Bytes(), p) {
				name, _, _ = strings.Cut(name, ":") // its architecture
				return name, true
			}
		}
	}
	return "", known
}

func read(to *bytes.Buffer, name string) bool {
	f, err := os.Open(name)
	if err != nil {
		return false
	}
	defer f.Close()
	_, err = to.ReadFrom(f)
	return err == nil
}

// spellings returns the paths that a file may be listed under: a package can
// still say /bin where /bin is a link to /usr/bin.
func spellings(path string) []string {
	list := []string{path}
	old, ok := strings.CutPrefix(path, "/usr")
	if !ok || !strings.HasPrefix(old, "/") {
		return list
	}
	dir := "/" + strings.Split(old, "/")[1]
	if to, err := filepath.EvalSymlinks(dir); err == nil && to == "/usr"+dir {
		list = append(list, old)
	}
	return list
}

func hasLine(list []byte, line string) bool {
	for {
		at := bytes.Index(list, []byte(line))
		if at < 0 {
			return false
		}
		end := at + len(line)
		if (at == 0 || list[at-1] == '\n') && (end == len(list) || list[end] == '\n') {
			return true
		}
		list = list[end-1:] // the newline before the next line may be the last byte
	}
}

// rpmOwner asks rpm, if there is one.
func rpmOwner(ctx context.Context, rpm, path string) (name string, known bool) {
	if _, err := os.Stat(rpm); err != nil {
		return "", false
	}
	cmd := exec.CommandContext(ctx, rpm, "-qf", "--queryformat", `%{NAME}\n`, path)
	cmd.Dir, cmd.Env, cmd.WaitDelay = "/", []string{"LC_ALL=C", "PATH=/usr/bin:/bin"}, time.Second
	out, err := cmd.Output()
	if err == nil {
		name, _, _ = strings.Cut(string(out), "\n")
		return name, name != ""
	}
	return "", ctx.Err() == nil && bytes.Contains(out, []byte("is not owned by any package"))
}
