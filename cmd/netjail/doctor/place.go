package doctor

import (
	"context"
	"strings"

	"github.com/netjail/netjail/rules"
)

// nested is what to do about a listener that there is already.
func nested(v *visit) Result {
	switch {
	case v.inside:
		return fails("in a jail no second one can be had", outside)
	case v.wsl():
		return fails("the kernel's one seccomp listener for this process is taken, by WSL's mirrored networking",
			"networkingMode=nat below [wsl2] in %UserProfile%\\.wslconfig, then wsl --shutdown")
	}
	return fails("the kernel's one seccomp listener for this process is taken", "run netjail outside of this container or sandbox")
}

const outside = "run netjail doctor outside of it"

// outer says whose jail this is.
func (v *visit) outer() string {
	if app := v.getenv("NETJAIL_APP"); app != "" {
		return " of " + rules.AppName(app)
	}
	return ""
}

func tryOuter(_ context.Context, v *visit) Result {
	switch {
	case v.inside:
		return fails("this is the jail"+v.outer()+", whose rules hold here", outside)
	case v.getenv("NETJAIL") != "":
		return lost("NETJAIL is set, and this is no jail", "programs may take themselves for jailed", "unset NETJAIL NETJAIL_APP")
	}
	return ok("not in a jail")
}

// wsl says whether Windows runs this kernel.
func (v *visit) wsl() bool { return isWSL(v.word("/proc/sys/kernel/osrelease")) }

// isWSL: "5.15.167.4-microsoft-standard-WSL2", "4.4.0-19041-Microsoft".
func isWSL(release string) bool { return strings.Contains(strings.ToLower(release), "microsoft") }

func tryWSL(_ context.Context, v *visit) Result {
	switch {
	case !v.wsl():
		return ok("not in Windows")
	case v.exists("/proc/sys/fs/binfmt_misc/WSLInterop") || v.exists("/proc/sys/fs/binfmt_misc/WSLInterop-late"):
		return lost("Windows programs can be started from here", "the network of Windows programs that a jailed program starts: no jail holds them",
			"enabled=false below [interop] in /etc/wsl.conf, then wsl --shutdown")
	}
	return ok("in WSL, without Windows programs")
}

// container names what this runs in, "" if nothing.
func (v *visit) container() string {
	switch {
	case v.exists("/run/.containerenv"):
		return "podman"
	case v.exists("/.dockerenv"):
		return "docker"
	}
	if name := v.word("/run/systemd/container"); name != "" {
		return name
	}
	if name := v.getenv("container"); name != "" {
		return name
	}
	environ, _ := v.read("/proc/1/environ") // for root only
	for kv := range strings.SplitSeq(environ, "\x00") {
		if name, ok := strings.CutPrefix(kv, "container="); ok && name != "" {
			return name
		}
	}
	groups, _ := v.read("/proc/self/cgroup")
	return containerOf(groups)
}

// containerOf guesses from the names of control groups, as engines choose them.
func containerOf(groups string) string {
	for _, m := range []struct{ mark, name string }{
		{"/docker", "docker"}, {"libpod", "podman"}, {"kubepods", "kubernetes"}, {"/lxc", "lxc"},
	} {
		if strings.Contains(groups, m.mark) {
			return m.name
		}
	}
	return ""
}

func tryContainer(_ context.Context, v *visit) Result {
	if name := v.container(); name != "" {
		return ok("in a container: " + name)
	}
	return ok("not in a container")
}
