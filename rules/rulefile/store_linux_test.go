package rulefile

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
)

// An ordinary user cannot write to a directory without the w bit. Root can, so
// as root the save runs on a thread with another user's file access.
func TestSaveUnwritableDir(t *testing.T) {
	dir := ruleDir(t, map[string]string{"curl.toml": simple})
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	f := mustParse(t, "curl", handWritten)
	if err := asOrdinaryUser(t, dir, func() error { return Save(dir, f) }); !errors.Is(err, syscall.EACCES) {
		t.Errorf("got %v, want EACCES", err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	checkUntouched(t, dir)
	if err := Save(dir, f); err != nil {
		t.Errorf("control: %v", err)
	}
}

func asOrdinaryUser(t *testing.T, dir string, do func() error) error {
	t.Helper()
	if os.Geteuid() != 0 {
		return do()
	}
	for d := filepath.Dir(dir); d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan error)
	go func() {
		// Never unlocked: the thread ends with the goroutine.
		runtime.LockOSThread()
		done <- errors.Join(syscall.Setfsuid(65534), do())
	}()
	return <-done
}
