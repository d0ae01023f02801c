package daemon

import (
	"fmt"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/rules"
)

// ruleFiles performs one request about the files of rules.
func (s *server) ruleFiles(m *api.Message) (any, error) {
	if err := s.store.trouble(); err != nil && m.Op != api.OpRulesDiff {
		return nil, err
	}
	switch m.Op {
	case api.OpRulesEnable:
		return s.rulesEnable(m)
	case api.OpRulesText:
		return s.rulesText(m)
	case api.OpRulesWrite:
		return s.rulesWrite(m)
	case api.OpRulesImport:
		return s.rulesImport(m)
	case api.OpRulesDiff:
		diffs, err := s.store.differences()
		return api.RuleDiff{Files: diffs}, err
	}
	undone, err := s.store.undo()
	if err != nil {
		return nil, err
	}
	s.pushAll(nil)
	return undone, nil
}

func (s *server) rulesEnable(m *api.Message) (any, error) {
	in, err := decode[api.RuleSwitch](m)
	if err != nil {
		return nil, err
	}
	list, err := s.store.enable(in.ID, in.Enabled)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, &api.Error{Text: "no such rule", Hint: "netjail rules list", Code: api.CodeNotFound}
	}
	s.pushAll(nil)
	return api.RuleList{Rules: api.FromRules(list)}, nil
}

// appOf is the app of an api.RuleText.
func appOf(in *api.RuleText) (string, error) {
	if in.App == api.Every {
		return "", nil
	}
	if err := rules.CheckAppName(in.App); err != nil {
		return "", invalid(err)
	}
	return in.App, nil
}

func (s *server) rulesText(m *api.Message) (any, error) {
	in, err := decode[api.RuleText](m)
	if err != nil {
		return nil, err
	}
	app, err := appOf(&in)
	if err != nil {
		return nil, err
	}
	path, text, err := s.store.text(app)
	if err != nil {
		return nil, err
	}
	return api.RuleText{App: in.App, File: path, Text: string(text)}, nil
}

func (s *server) rulesWrite(m *api.Message) (any, error) {
	in, err := decode[api.RuleText](m)
	if err != nil {
		return nil, err
	}
	app, err := appOf(&in)
	if err != nil {
		return nil, err
	}
	list, err := s.store.replace(app, []byte(in.Was), []byte(in.Text))
	if err != nil {
		return nil, err
	}
	s.pushAll(nil)
	return api.RuleList{Rules: api.FromRules(list)}, nil
}

func (s *server) rulesImport(m *api.Message) (any, error) {
	in, err := decode[api.RuleImport](m)
	if err != nil {
		return nil, err
	}
	list, err := api.ToRules(in.Rules)
	if err != nil {
		return nil, invalid(err)
	}
	for i := range list {
		if list[i].Jail != "" {
			return nil, invalid(fmt.Errorf("%s: a rule of one run", m.Op))
		}
		list[i].Source = rules.Source{}
	}
	added, same, other, err := s.store.take(list, in.Dry)
	if err != nil {
		return nil, err
	}
	if !in.Dry && len(added) > 0 {
		s.pushAll(nil)
	}
	out := api.RuleImported{Added: api.FromRules(added), Same: api.FromRules(same), Kept: []api.RuleKept{}}
	for _, k := range other {
		out.Kept = append(out.Kept, api.RuleKept{Rule: api.FromRule(&k.rule), There: api.FromRule(&k.there)})
	}
	return out, nil
}
