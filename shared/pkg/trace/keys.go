package trace

// Names of attributes that more than one package uses.
const (
	KeyOrg         = "stavily.organization"
	KeyAgent       = "stavily.agent"
	KeyPlugin      = "stavily.plugin"
	KeyMonitor     = "stavily.monitor"
	KeyEvent       = "stavily.event"
	KeyEventType   = "stavily.event_type"
	KeyWorkflow    = "stavily.workflow"
	KeyRun         = "stavily.run"
	KeyStep        = "stavily.step"
	KeyInstruction = "stavily.instruction"
	KeyStatus      = "stavily.status"
)
