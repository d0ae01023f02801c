package proposal

import (
	"cmp"
	"slices"
	"strings"

	"github.com/netjail/netjail/rules"
)

// order sorts rules: names by what they end with, then addresses, what is
// listened on, and sockets.
func order(a, b rules.Rule) int {
	x, y := a.Dest, b.Dest
	return cmp.Or(
		cmp.Compare(flag(x.Host.Kind == rules.HostUnix), flag(y.Host.Kind == rules.HostUnix)),
		cmp.Compare(flag(x.Listen), flag(y.Listen)),
		cmp.Compare(flag(x.Host.Kind == rules.HostAddr), flag(y.Host.Kind == rules.HostAddr)),
		slices.Compare(labels(x.Host.Name), labels(y.Host.Name)),
		x.Host.Addr.Compare(y.Host.Addr),
		cmp.Compare(x.Proto, y.Proto),
		cmp.Compare(x.String(), y.String()),
	)
}

func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}

// labels are those of a name, the last first.
func labels(name string) []string {
	list := strings.Split(name, ".")
	slices.Reverse(list)
	return list
}
