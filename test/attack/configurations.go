//go:build linux

package main

import "maps"

const (
	byWatchdog = "no control group can be written, so the agent looks at the memory of the tree 20 times a second: what several processes take together between two looks goes past the limit, until they are ended"
	ownCode    = "the loader maps a file that it may read, and Landlock has no say in what is mapped; the program has the rights of the plugin, whose Python could do the same"
	groups     = "`getpgid(2)` of another process tells whether there is one of that number: programs ask it of their own children, so it is not refused, and neither is signal 0 before Landlock ABI 6; the other calls that tell it are"
	foreign    = "Landlock does not see stat(2), and system calls that take a path cannot be filtered by it: names, sizes and times can be seen, contents cannot"
)

// configurations are all there are, in the order of the table.
var configurations = []configuration{
	{
		Name: "control", Title: "no sandbox", About: "an ordinary user without privileges; `security.sandbox.level: none`",
		Level: "none", UID: user, Host: "own",
	},
	{
		Name: "full", Title: "full", About: "an ordinary user without privileges, no control group to write to",
		Level: "full", UID: user, Host: "own", Open: openFull,
	},
	{
		Name: "full-root", Title: "full, root", About: "root, control groups can be written",
		Level: "full", UID: 0, Host: "own",
	},
	{
		Name: "confined", Title: "confined", About: "an ordinary user without privileges; `security.sandbox.level: confined`",
		Level: "confined", UID: user, Host: "own", Open: openConfined,
	},
	{
		Name: "full-reads", Title: "full, reads /", About: "as full; the manifest asks for reading `/` and for one destination, and gets both",
		Level: "full", UID: user, Host: "own", Grants: wide, Open: with(openFull, openWide),
	},
	{
		Name: "confined-reads", Title: "confined, reads /", About: "as confined; the manifest asks for reading `/` and for one port, and gets both",
		Level: "confined", UID: user, Host: "own", Grants: wide, Open: with(openConfined, openWideConfined),
	},
	{
		Name: "masked-proc", Title: "masked /proc", About: "parts of /proc covered, as Kubernetes does; user namespaces allowed",
		Level: "full", UID: user, Host: "own", MaskedProc: true, Open: openFull,
	},
	{
		Name: "no-userns", Title: "no user namespaces", About: "`user.max_user_namespaces = 0`",
		Level: "confined", Most: "full", UID: user, Host: "own", NoUserNamespaces: true, Open: openConfined,
	},
	{
		Name: "container", Title: "container", About: "Docker's default seccomp profile, user 1000",
		Level: "confined", Most: "full", UID: 1000, Host: "container", Open: openConfined,
	},
	{
		Name: "landlock-1", Title: "Landlock ABI 1", About: "as confined, with what Linux 5.13 has of Landlock",
		Level: "confined", UID: user, Host: "own", LandlockABI: 1, Open: openConfined,
	},
	{
		Name: "landlock-4", Title: "Landlock ABI 4", About: "as confined, with what Linux 6.7 has of Landlock",
		Level: "confined", UID: user, Host: "own", LandlockABI: 4, Open: openConfined,
	},
}

// What can work where memory is watched and not counted by the kernel.
var openFull = map[string]string{"memory_in_many_processes": byWatchdog}

// wide is what a plugin may reasonably ask for that looks after files: the probes then
// attack what is left of the boundary.
const wide = `{network: ["127.0.0.1:9"], filesystem: {read: ["/"], write: []}}`

const granted = "it is granted: reading `/` is reading every file that the agent's user can, but for the agent's own directory"

var openWide = map[string]string{"read_host_home": granted}

// Level full has a /tmp of its own, whatever is granted.
var openWideConfined = map[string]string{"read_host_home": granted, "list_temp": granted}

func with(tables ...map[string]string) map[string]string {
	out := map[string]string{}
	for _, t := range tables {
		maps.Copy(out, t)
	}
	return out
}

var openConfined = map[string]string{
	"memory_in_many_processes": byWatchdog,
	"stat_agent_files":         foreign,
	"run_through_loader":       ownCode,
	"find_processes":           groups,
}
