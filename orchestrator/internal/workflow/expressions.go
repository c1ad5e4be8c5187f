package workflow

import "github.com/stavily/agents/orchestrator/internal/workflow/expr"

// scope is what the steps of a run may read: of other steps those that have ended.
func scope(ended, all []string) expr.Scope {
	return expr.Scope{Ended: ended, Steps: all, Absent: map[string]string{
		expr.Agent: "only the values of a step that runs on each of several agents are about one of them; the sensor's is event.agent",
	}}
}

// condition compiles the condition at path, if there is one.
func (c *checker) condition(path []any, source string, scope expr.Scope) *expr.Program {
	if !c.doc.Has(path) || !c.count(path) {
		return nil
	}
	p, problems := c.env.CompileCondition(source, scope)
	c.report(path, 0, problems)
	return c.noteReads(p)
}

// count refuses expressions beyond maxExpressions, once.
func (c *checker) count(path []any) bool {
	if c.expressions++; c.expressions == maxExpressions+1 {
		c.fail(path, "more than %d expressions: split the workflow", maxExpressions)
	}
	return c.expressions <= maxExpressions
}

// report places the problems of an expression that begins at a character of the
// scalar at path.
func (c *checker) report(path []any, begin int, problems []expr.Problem) {
	for _, p := range problems {
		e := c.doc.Errorf(path, "%s", p.Message)
		if n := c.doc.Node(path); n != nil {
			e.Line, e.Column = place(c.src, n, begin+p.Offset)
		}
		c.errs = append(c.errs, e)
	}
}

// noteReads remembers which results expressions read: a run keeps no others.
func (c *checker) noteReads(p *expr.Program) *expr.Program {
	if p != nil {
		c.timed = c.timed || p.ReadsNow()
		for _, id := range p.Steps() {
			c.def.read[id] = true
			c.reading = append(c.reading, id)
		}
	}
	return p
}
