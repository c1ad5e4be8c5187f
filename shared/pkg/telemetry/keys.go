package telemetry

// Names of log attributes, the same everywhere, so that `grep '"run":"01…"'` finds
// all of a run in the logs of every process.
const (
	KeyOrg         = "org"
	KeyAgent       = "agent"
	KeyPlugin      = "plugin"
	KeyMonitor     = "monitor"
	KeyEvent       = "event"
	KeyWorkflow    = "workflow"
	KeyRun         = "run"
	KeyStep        = "step"
	KeyInstruction = "instruction"
	KeyAttempt     = "attempt"
	KeyError       = "error"
)
