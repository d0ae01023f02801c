package programs

import (
	"net/http"
	"net/http/cgi"
	"os"
	"path/filepath"
	"testing"
)

// TestGit clones over HTTP: from plain files, and from git's own server.
func TestGit(t *testing.T) {
	for _, smart := range []bool{false, true} {
		name := map[bool]string{false: "files", true: "http-backend"}[smart]
		t.Run(name, func(t *testing.T) {
			root := newRepository(t)
			var handler http.Handler = http.FileServer(http.Dir(root))
			if smart {
				handler = &cgi.Handler{
					Path: filepath.Join(command(t, root, nil, "git", "--exec-path"), "git-http-backend"),
					Env:  []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1"},
				}
			}
			srv := serveHTTP(t, handler)
			clone := filepath.Join(root, "clone")
			tr := trial{
				args: []string{"git", "clone", "-q", "http://" + srv.Addr() + "/repo.git", clone},
				dest: "tcp://" + srv.Addr(), count: srv, denied: denial{code: 128},
				check: func(t *testing.T) {
					t.Helper()
					got, err := os.ReadFile(filepath.Join(clone, "file"))
					if err != nil || string(got) != "content\n" {
						t.Errorf("the clone has %q (%v), want content", got, err)
					}
					os.RemoveAll(clone)
				},
			}
			tr.run(t)
		})
	}
}

// newRepository makes a repository repo.git with one file, and returns the
// directory that it is in.
func newRepository(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	work, bare := filepath.Join(root, "work"), filepath.Join(root, "repo.git")
	env := []string{
		"HOME=" + root, "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.org",
		"GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.org",
	}
	command(t, root, env, "git", "init", "-q", work)
	if err := os.WriteFile(filepath.Join(work, "file"), []byte("content\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	command(t, work, env, "git", "add", "file")
	command(t, work, env, "git", "commit", "-q", "-m", "one")
	command(t, root, env, "git", "clone", "-q", "--bare", work, bare)
	command(t, bare, env, "git", "update-server-info")
	return root
}
