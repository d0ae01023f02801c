package daemon

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/rules/blocklist"
)

// blocklist performs one request about blocklists.
func (s *server) blocklist(m *api.Message) (any, error) {
	switch m.Op {
	case api.OpBlocklistList:
		return s.lists.describe(), nil
	case api.OpBlocklistTest:
		return s.blocklistTest(m)
	case api.OpBlocklistUpdate:
		return s.changed(s.lists.update())
	}
	in, err := decode[api.BlocklistFiles](m)
	if err != nil {
		return nil, err
	}
	if len(in.Files) == 0 {
		return nil, invalid(fmt.Errorf("%s: which list?", m.Op))
	}
	edit := withNames
	if m.Op == api.OpBlocklistRemove {
		edit = withoutNames
	}
	return s.changed(s.lists.change(func(text []byte, files []string) ([]byte, error) {
		return edit(text, files, in.Files)
	}))
}

// changed tells the supervisors of other lists, if there are any.
func (s *server) changed(err error) (any, error) {
	if err != nil {
		return nil, s.lists.advise(err)
	}
	s.pushAll(nil)
	return s.lists.describe(), nil
}

// advise says what to do about an error.
func (b *blocklists) advise(err error) error {
	if errors.Is(err, errChanged) {
		return &api.Error{Text: err.Error(), Hint: "netjail blocklist update"}
	}
	e, ok := errors.AsType[*blocklist.Error](err)
	if !ok {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	said := &api.Error{Text: err.Error()}
	switch {
	case e.File == b.names:
		said.Hint = "correct it, then: netjail blocklist update"
	case slices.Contains(b.files, e.File):
		said.Hint = "correct it, then: netjail blocklist update; or: netjail blocklist remove " + e.File
	}
	return said
}

func (s *server) blocklistTest(m *api.Message) (any, error) {
	in, err := decode[api.BlocklistNames](m)
	if err != nil {
		return nil, err
	}
	if err := s.lists.trouble(); err != nil {
		return nil, s.lists.advise(err)
	}
	c := s.lists.inForce.Load()
	out := api.BlocklistMatches{Names: []api.BlocklistMatch{}}
	for _, name := range in.Names {
		name, err := blocklist.ParseName(name)
		if err != nil {
			return nil, invalid(err)
		}
		match := api.BlocklistMatch{Name: name}
		if c != nil {
			match.Entry, match.File, match.Blocked = c.list.Lookup(name)
		}
		out.Names = append(out.Names, match)
	}
	return out, nil
}

// describe says what is in force.
func (b *blocklists) describe() api.Blocklists {
	out := api.Blocklists{Files: []api.Blocklist{}}
	if err := b.unread(); err != nil {
		out.Problem = err.Error()
	}
	c := b.inForce.Load()
	if c == nil {
		return out
	}
	built := c.list.Built().UTC()
	out.Names, out.Exceptions, out.Read = c.list.Names(), c.list.Exceptions(), &built
	for _, src := range c.list.Sources() {
		out.Files = append(out.Files, api.Blocklist{
			File: src.File, Names: src.Names, Exceptions: src.Exceptions, Skipped: src.Skipped, State: stateOf(&src),
		})
	}
	return out
}

func stateOf(src *blocklist.Source) string {
	info, err := os.Stat(src.File)
	switch {
	case err != nil:
		return api.BlocklistMissing
	case info.Size() != src.Size || !info.ModTime().Equal(src.Modified):
		return api.BlocklistChanged
	}
	return api.BlocklistRead
}
