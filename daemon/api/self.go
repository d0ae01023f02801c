package api

// Self is what a program in a jail is told of the jail that it is in, by its
// supervisor: the daemon does not answer programs in jails.
type Self struct {
	App       string `json:"app"`
	Guard     string `json:"guard"` // what enforces in the kernel, besides the filter
	Mode      string `json:"mode"`  // one of the Mode constants
	Rules     []Rule `json:"rules"` // that are in force: of this run, of its app, and of every app
	Blocklist bool   `json:"blocklist"`
}
