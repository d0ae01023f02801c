package blocklist

import "golang.org/x/net/idna"

// idn takes names that no registry would: underscores are common in lists.
var idn = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.Transitional(false), idna.StrictDomainName(false))

// ascii returns the form of an international name that DNS knows.
func ascii(name string) (string, error) { return idn.ToASCII(name) }
