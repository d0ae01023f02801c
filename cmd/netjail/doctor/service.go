package doctor

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/rules"
	"github.com/netjail/netjail/rules/rulefile"
)

func tryRuntime(context.Context, *visit) Result {
	dir, err := api.RuntimeDir()
	if err != nil {
		return fails(err.Error(), "make it yours: chmod 700, or set XDG_RUNTIME_DIR to a directory of your own")
	}
	return ok(dir)
}

// tryRules asks the daemon whether it decides by the rules on disk. Where none
// runs they are read as it would.
func tryRules(_ context.Context, v *visit) Result {
	if v.inside {
		return absent("no jail may ask the daemon", "", "")
	}
	dir, err := api.RuntimeDir()
	if err != nil {
		return fails(err.Error(), "")
	}
	c, err := api.Dial(api.SocketPath(dir), nil)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ECONNREFUSED):
		return rulesOnDisk()
	case err != nil:
		return fails(err.Error(), "end the daemon and try again")
	}
	defer c.Close()
	return rulesInForce(c)
}

const checkRules = "netjail rules check, then netjail rules reload"

func rulesOnDisk() Result {
	dir, err := api.ConfigDir()
	if err != nil {
		return fails(err.Error(), "set HOME")
	}
	files, err := rulefile.Load(dir)
	if err != nil {
		return fails(err.Error(), checkRules)
	}
	return ok(fmt.Sprintf("%d files in %s are good; no daemon runs, one is started when it is needed", len(files), dir))
}

func rulesInForce(c *api.Client) Result {
	var st api.Status
	if err := c.Ask(api.OpStatus, nil, &st); err != nil {
		return fails(err.Error(), "end the daemon and try again")
	}
	// It decides about nothing when it has never read good rules.
	dest, err := rules.ParseDestination("tcp://127.0.0.1:1")
	if err == nil {
		err = c.Ask(api.OpExplain, api.ExplainRequest{App: "doctor", Dest: dest}, new(api.Explanation))
	}
	switch {
	case err != nil:
		return fails(err.Error(), checkRules)
	case st.Problem != "":
		return lost("the last good ones are in force: "+st.Problem, "what you changed since", checkRules)
	case st.Blocklist != "":
		return lost("the last good blocklists are in force: "+st.Blocklist, "what changed in them since", "netjail blocklist update")
	}
	return ok(fmt.Sprintf("in force, from %s; daemon %d answers", st.Config, st.PID))
}
