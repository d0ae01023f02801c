package tui

import (
	"fmt"
	"strings"
)

func ruleRows(list []Rule, match func(...string) bool) (rows []row) {
	for i := range list {
		r := &list[i]
		if match(r.App, r.Verdict, r.Dest, r.Lifetime, r.By, r.Where, r.Note) {
			rows = append(rows, row{id: r.ID, at: i})
		}
	}
	return rows
}

// eventRows lists the newest first. Two that are alike are told apart by which
// of them came first.
func eventRows(list []Event, match func(...string) bool) (rows []row) {
	ids := make(map[string]int, len(list))
	for i := range list {
		e := &list[i]
		id := fmt.Sprint(e.Time.UnixNano(), " ", e.App, " ", e.Dest)
		if ids[id]++; match(e.App, e.Op, e.Dest, e.Verdict, e.By, e.Lifetime, e.Why, strings.Join(e.Names, " ")) {
			rows = append(rows, row{id: fmt.Sprint(id, " ", ids[id]), at: i})
		}
	}
	for i, j := 0, len(rows)-1; i < j; i, j = i+1, j-1 {
		rows[i], rows[j] = rows[j], rows[i]
	}
	return rows
}

func jailRows(list []Jail, match func(...string) bool) (rows []row) {
	for i := range list {
		j := &list[i]
		if match(j.App, j.Guard, j.Command) {
			rows = append(rows, row{id: j.ID, at: i})
		}
	}
	return rows
}
