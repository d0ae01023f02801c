package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// What guards would give that this netjail does not have.
const (
	givesNetns = "for a guard to come: a wall in the kernel for UDP, too, without root"
	givesNft   = "for a guard to come: a wall in the kernel for UDP, too, that outlives its supervisor"
)

// tryUserns sets up a network in namespaces of a helper's own.
func tryUserns(ctx context.Context, v *visit) Result {
	cmd := helper(ctx, "loopback")
	inNamespaces(cmd)
	if _, err := output(cmd); err != nil {
		return usernsRefused(v, err)
	}
	return ok("a program can make its own, with a network in it")
}

func usernsRefused(v *visit, err error) Result {
	fix := "a container's seccomp profile, or a security module, forbids it"
	switch {
	case v.word("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1":
		fix = "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0 (programs with an AppArmor profile for it need that not)"
	case v.word("/proc/sys/kernel/unprivileged_userns_clone") == "0":
		fix = "sudo sysctl kernel.unprivileged_userns_clone=1"
	case v.word("/proc/sys/user/max_user_namespaces") == "0":
		fix = "sudo sysctl user.max_user_namespaces=15000"
	}
	return lost("refused: "+symbol(err), "the sandbox of Chromium and Electron in a jail, where their setuid helper does not work", fix)
}

// tryPasta runs pasta.
func tryPasta(ctx context.Context, v *visit) Result {
	path := v.look("pasta")
	if path == "" {
		return absent("not in PATH", givesNetns, "install the package passt")
	}
	out, err := output(exec.CommandContext(ctx, path, "--version"))
	if err != nil {
		return absent(fmt.Sprintf("%s does not run: %v", path, err), givesNetns, "install the package passt")
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return ok(path + ", " + line)
}

// look finds a program in PATH, not in the working directory.
func (v *visit) look(name string) string {
	for _, dir := range filepath.SplitList(v.getenv("PATH")) {
		path := filepath.Join(dir, name)
		if fi, err := os.Stat(path); err == nil && filepath.IsAbs(dir) && fi.Mode().IsRegular() && fi.Mode().Perm()&0o111 != 0 {
			return path
		}
	}
	return ""
}

func tryTun(_ context.Context, v *visit) Result {
	const name = "/dev/net/tun"
	fd, err := unix.Open(v.path(name), unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	switch {
	case err == nil:
		unix.Close(fd)
		return ok(name + " opens")
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return absent(name+": "+symbol(err), givesNetns, "sudo chmod 666 "+name)
	}
	return absent(name+": "+symbol(err), givesNetns, "sudo modprobe tun")
}

// guardSocket is where the nft guard will listen.
const guardSocket = "/run/netjail/guard.sock"

func tryGuard(ctx context.Context, v *visit) Result {
	if !v.exists(guardSocket) {
		return absent("the guard service is not installed", givesNft, "")
	}
	c, err := new(net.Dialer).DialContext(ctx, "unix", v.path(guardSocket))
	if err != nil {
		return absent(err.Error(), givesNft, "")
	}
	c.Close()
	return ok("the guard service listens")
}

// tryCgroup makes a control group below this process's own, and removes it.
func tryCgroup(_ context.Context, v *visit) Result {
	mounts, _ := v.read("/proc/self/mountinfo")
	groups, _ := v.read("/proc/self/cgroup")
	mount, group := cgroupMount(mounts), cgroupOf(groups)
	if mount == "" || group == "" {
		return absent("cgroup v2 is not mounted", givesNft, "boot with systemd.unified_cgroup_hierarchy=1")
	}
	dir := filepath.Join(mount, group)
	name := filepath.Join(v.path(dir), "netjail-doctor-"+strconv.Itoa(os.Getpid()))
	if err := os.Mkdir(name, 0o755); err != nil {
		return absent(fmt.Sprintf("no group can be made in %s: %s", dir, symbol(err)), givesNft, "systemd-run --user --scope netjail …")
	}
	if err := os.Remove(name); err != nil {
		return absent(err.Error(), givesNft, "rmdir "+name)
	}
	return ok("groups can be made in " + dir)
}

// cgroupMount finds where cgroup v2 is mounted, see proc_pid_mountinfo(5).
func cgroupMount(mounts string) string {
	for line := range strings.Lines(mounts) {
		before, after, found := strings.Cut(line, " - ")
		fields := strings.Fields(before)
		if found && len(fields) >= 5 && strings.HasPrefix(after, "cgroup2 ") {
			return unescape(fields[4])
		}
	}
	return ""
}

// unescape reads the octal escapes of mountinfo.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// cgroupOf finds the group in cgroup v2, see cgroups(7).
func cgroupOf(groups string) string {
	for line := range strings.Lines(groups) {
		if path, ok := strings.CutPrefix(line, "0::"); ok {
			return strings.TrimSuffix(path, "\n")
		}
	}
	return ""
}
