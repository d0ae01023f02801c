package names

import "golang.org/x/net/publicsuffix"

// Domain returns the domain that somebody registered and that a name is below,
// or is: example.co.uk of www.example.co.uk. ok is false where there is none,
// as for a name without a dot, or for one below which everybody may register.
func Domain(name string) (domain string, ok bool) {
	domain, err := publicsuffix.EffectiveTLDPlusOne(name)
	if err != nil {
		return "", false
	}
	// A last label that is on no list is a suffix only by default.
	if _, icann := publicsuffix.PublicSuffix(name); !icann && !listed(name) {
		return "", false
	}
	return domain, true
}

// PublicSuffix says whether everybody may register names below name.
func PublicSuffix(name string) bool {
	suffix, icann := publicsuffix.PublicSuffix(name)
	return suffix == name && (icann || listed(name))
}

// listed says whether the suffix of a name is one of a company's, such as
// github.io, and not just the last label of a name that is on no list.
func listed(name string) bool {
	suffix, _ := publicsuffix.PublicSuffix(name)
	for _, c := range suffix {
		if c == '.' {
			return true
		}
	}
	return false
}
