// Package service makes an agent a service of its host: of systemd on Linux, of launchd
// on macOS, of the service control manager on Windows. It also tells systemd how the
// running agent is.
//
// It owns the account, the base directory's owner and mode, the unit, and the calls of
// the host's manager. What the base directory holds, and what the configuration says,
// it is told. A change is a list of [Step]: the same list is printed by a dry run and
// done by a real one, so that what is printed is what would be done. Steps that find
// their work done do nothing; the first error ends the list and says which step it was.
//
//	Install   account → base directory, configuration, owner → unit → manager told → enabled
//	Uninstall stopped and disabled → unit removed → manager told; account and data stay
//
// As root it works in directories that belong to an ordinary user, who may have put links
// there: everything goes through os.Root, and links are never followed out of the base
// directory or its parent.
//
// Units are named <type>-agent-<id>, so that agents stand beside each other. Values that
// a unit cannot hold (a quote in a path, a line break) are refused, never escaped by guess.
//
// [Notify] and [Watchdog] are sd_notify(3): one datagram to the socket of the environment,
// nothing where there is none.
package service
