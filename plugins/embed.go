// Package plugins carries the official plugins: what an agent needs of them to
// run, without their tests and documentation.
//
//	sensors/certificate-expiry  sensors/command-output    sensors/cpu-load
//	sensors/directory-size      sensors/disk-space        sensors/file-watch
//	sensors/heartbeat           sensors/http-check        sensors/log-pattern
//	sensors/memory              sensors/process           sensors/prometheus-query
//	sensors/service             sensors/tcp-check
//	actions/cleanup-files       actions/container-restart actions/http-request
//	actions/kill-process        actions/restart-service   actions/rotate-log
//	actions/run-command         actions/write-file
//	outputs/email               outputs/file              outputs/prometheus-pushgateway
//	outputs/slack               outputs/syslog            outputs/webhook
//
// Each is a directory <kind>/<id> with a manifest, plugin.yaml, and a Python
// file, main.py, that needs nothing but the package in sdk/python, whose
// subpackage tools has what several of them need. Official only reads; it may be
// used by several goroutines.
package plugins

import "embed"

// Official is the tree of all official plugins, as <kind>/<id>/<file>.
//
//go:embed sensors/*/plugin.yaml sensors/*/main.py
//go:embed actions/*/plugin.yaml actions/*/main.py
//go:embed outputs/*/plugin.yaml outputs/*/main.py
//go:embed */*/certificate.py */*/changes.py
var Official embed.FS
