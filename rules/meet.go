package rules

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
