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

// Meets says whether one address or name may be of both hosts. A name may have
// any address.
func (h Host) Meets(o Host) bool {
	if h.Kind > o.Kind {
		h, o = o, h
	}
	switch {
	case h.Kind == HostNone:
		return false
	case o.Kind == HostUnix:
		return h == o
	case h.Kind == o.Kind:
		return h.meetsOwn(&o)
	case h.Kind == HostClass && o.Kind == HostAddr:
		return h.Class == Localhost || h.Class == ClassOf(o.Addr) // any address may be this machine's
	case h.Kind == HostPrefix && o.Kind == HostAddr:
		return h.Prefix.Contains(o.Addr.WithZone(""))
	case h.Kind == HostSuffix && o.Kind == HostName:
		return h.Apex && h.Name == o.Name || below(o.Name, h.Name)
	}
	return true
}

// meetsOwn is Meets for two hosts of one kind.
func (h *Host) meetsOwn(o *Host) bool {
	switch h.Kind {
	case HostClass:
		return h.Class == o.Class
	case HostPrefix:
		return h.Prefix.Overlaps(o.Prefix)
	case HostSuffix:
		return h.Name == o.Name || below(h.Name, o.Name) || below(o.Name, h.Name)
	case HostName:
		return h.Name == o.Name
	case HostAddr:
		return h.Addr == o.Addr || h.Addr.WithZone("") == o.Addr || o.Addr.WithZone("") == h.Addr
	}
	return true
}

// below says whether name is below domain.
func below(name, domain string) bool {
	return len(name) > len(domain) && name[len(name)-len(domain)-1] == '.' && name[len(name)-len(domain):] == domain
}

// Meets says whether a port is in both sets.
func (p Ports) Meets(o Ports) bool {
	if p.All() || o.All() {
		return true
	}
	for _, a := range p.Ranges() {
		for _, b := range o.Ranges() {
			if a.First <= b.Last && b.First <= a.Last {
				return true
			}
		}
	}
	return false
}
