package rules

// rank orders the rules that speak of one request, the widest first: the list
// on Set, packed into one number.
//
//	bits 48-50 the tier of the host
//	bits 40-47 within a tier: the prefix's length or the wildcard's labels
//	bits 16-31 the ports
//	bits 0-6   protocol, executable, app, run, verdict
type rank uint64

const (
	rankTier  = 48
	rankSub   = 40
	rankPorts = 16
	rankProto = 6
	rankExe   = 5
	rankApp   = 4
	rankRun   = 3
)

// withoutSub is the rank for comparing a prefix with a wildcard name, which
// tie as hosts.
func (k rank) withoutSub() rank { return k &^ (0xff << rankSub) }

func rankOf(r *Rule) rank {
	h := &r.Dest.Host
	k := rank(hostTier(h.Kind)) << rankTier
	switch h.Kind {
	case HostPrefix:
		k |= rank(h.Prefix.Bits()) << rankSub
	case HostSuffix:
		k |= rank(labels(h.Name)) << rankSub
	}
	if n := r.Dest.Ports.Count(); n > 0 {
		k |= rank(1<<16-n) << rankPorts
	}
	k |= bit(r.Dest.Proto != AnyProto) << rankProto
	k |= bit(r.Exe != "") << rankExe
	k |= bit(r.App != "") << rankApp
	k |= bit(r.Run) << rankRun
	return k | rank(severity(r.Verdict))
}

func bit(b bool) rank {
	if b {
		return 1
	}
	return 0
}

func hostTier(k HostKind) int {
	switch k {
	case HostUnix, HostAddr, HostName:
		return 4
	case HostPrefix, HostSuffix:
		return 3
	case HostClass:
		return 2
	case HostAny:
		return 1
	}
	return 0
}

// labels returns how many labels a name has: at most 127.
func labels(name string) int {
	n := 1
	for i := range len(name) {
		if name[i] == '.' {
			n++
		}
	}
	return min(n, 255)
}

// severity orders verdicts by how much they refuse. What is no verdict denies.
func severity(v Verdict) int {
	switch v {
	case Allow:
		return 0
	case Ask:
		return 1
	}
	return 2
}

// Precedes says whether r decides about a request that both speak of, if no
// third rule does. Two equal rules do not precede each other.
func (r *Rule) Precedes(o *Rule) bool {
	a, b := rankOf(r), rankOf(o)
	if crosses(r, o) {
		a, b = a.withoutSub(), b.withoutSub()
	}
	return a > b
}
