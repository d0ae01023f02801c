package api

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// RuntimeDir returns the directory of the daemon's socket and lock: netjail
// below $XDG_RUNTIME_DIR, or a directory of the user's own below /tmp where
// that is unset. It is made when it is missing. A directory that others could
// have prepared is an error.
func RuntimeDir() (string, error) {
	uid := os.Getuid()
	dir := filepath.Join("/tmp", "netjail-"+strconv.Itoa(uid))
	if base := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(base) {
		dir = filepath.Join(base, "netjail")
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return "", fmt.Errorf("runtime directory: %w", err)
	}
	fi, err := os.Lstat(dir)
	if err != nil {
		return "", fmt.Errorf("runtime directory: %w", err)
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	switch {
	case !ok || !fi.IsDir():
		return "", fmt.Errorf("runtime directory: %s is not a directory", dir)
	case int(st.Uid) != uid:
		return "", fmt.Errorf("runtime directory: %s belongs to user %d, not to %d", dir, st.Uid, uid)
	case fi.Mode().Perm()&0o077 != 0:
		return "", fmt.Errorf("runtime directory: others can open %s (mode %04o)", dir, fi.Mode().Perm())
	}
	return dir, nil
}

// SocketPath returns the path of the daemon's socket in a runtime directory.
func SocketPath(runtimeDir string) string { return filepath.Join(runtimeDir, "daemon.sock") }

// ConfigDir returns the directory of the rule files: netjail/rules below
// $XDG_CONFIG_HOME, or below ~/.config.
func ConfigDir() (string, error) {
	base, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("config directory: %w", err)
	}
	return filepath.Join(base, "netjail", "rules"), nil
}

// StateDir returns the directory of what the daemon keeps for itself: netjail
// below $XDG_STATE_HOME, or below ~/.local/state.
func StateDir() (string, error) {
	if base := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(base) {
		return filepath.Join(base, "netjail"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("state directory: %w", err)
	}
	return filepath.Join(home, ".local", "state", "netjail"), nil
}
