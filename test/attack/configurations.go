//go:build linux

package main

const (
	byWatchdog = "no control group can be written, so the agent looks at the memory of the tree 20 times a second: what several processes take together between two looks goes past the limit, until they are ended"
	ownScratch = "without a mount namespace the private directory is a directory of the host: the agent measures it and ends the run, which a writer that is fast gets ahead of"
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
		Level: "full", UID: user, Host: "own",
		Open: map[string]string{"memory_in_many_processes": byWatchdog},
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
		Name: "masked-proc", Title: "masked /proc", About: "parts of /proc covered, as Kubernetes does; user namespaces allowed",
		Level: "full", UID: user, Host: "own", MaskedProc: true,
		Open: map[string]string{"memory_in_many_processes": byWatchdog},
	},
	{
		Name: "no-userns", Title: "no user namespaces", About: "`user.max_user_namespaces = 0`",
		Level: "confined", Most: "full", UID: user, Host: "own", NoUserNamespaces: true, Open: openConfined,
	},
	{
		Name: "container", Title: "container", About: "Docker's default seccomp profile, user 1000",
		Level: "confined", Most: "full", UID: 1000, Host: "container", Seccomp: "default", Open: openConfined,
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

var openConfined = map[string]string{
	"memory_in_many_processes": byWatchdog,
	"fill_with_one_file":       ownScratch,
	"use_up_inodes":            ownScratch,
	"stat_agent_files":         foreign,
}
