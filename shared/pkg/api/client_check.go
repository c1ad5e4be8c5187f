package api

import (
	"errors"
	"fmt"
)

// What an answer of 2xx must say before it counts as a success. Anybody can answer
// 200 and {}: a proxy, a login page, a half-restored server. An error here becomes an
// [UnreachableError] of [KindNotStavily].

func (c *Client) checkEnrolled(r EnrollResponse) error {
	if r.AgentID != c.agent {
		return fmt.Errorf("the certificate is for agent %.80q and this is %q", r.AgentID, c.agent)
	}
	if r.CertificatePEM == "" || r.CAPEM == "" {
		return errors.New("certificate_pem or ca_pem is missing")
	}
	return r.OrganizationID.Validate()
}

func checkToken(r TokenResponse) error {
	if r.Token == "" || r.ExpiresAt.IsZero() {
		return errors.New("token or expires_at is missing")
	}
	return nil
}

func checkHeartbeat(r HeartbeatResponse) error {
	if r.ServerTime.IsZero() {
		return errors.New("server_time is missing")
	}
	return nil
}

// checkPoll holds every offer against this agent. What an instruction names is not
// looked at: that is for the agent's policy, which can report a refusal.
func (c *Client) checkPoll(r PollResponse, most int) error {
	offers := r.Offers()
	want := StatusNoInstructions
	if len(offers) > 0 {
		want = StatusDelivered
	}
	if r.Status != want {
		return fmt.Errorf("status is %.80q with %d instructions", r.Status, len(offers))
	}
	if len(offers) > most {
		return fmt.Errorf("%d instructions for a poll of at most %d", len(offers), most)
	}
	for i := range offers {
		if err := offers[i].ID.Validate(); err != nil {
			return err
		}
		if offers[i].AgentID != c.agent {
			return fmt.Errorf("instruction %s is for agent %.80q and this is %q", offers[i].ID, offers[i].AgentID, c.agent)
		}
	}
	return nil
}

func checkProgress(r ProgressResponse, id InstructionID) error {
	if !r.Success || r.InstructionID != id {
		return fmt.Errorf("success is %v for instruction %.80q, want true for %q", r.Success, r.InstructionID, id)
	}
	return nil
}

func checkResult(r ResultResponse) error {
	if !r.Acknowledged {
		return errors.New("acknowledged is not true")
	}
	return nil
}

func checkEvents(r EventBatchResponse, b EventBatch) error {
	settled := make(map[EventID]bool, len(r.Events))
	for _, o := range r.Events {
		switch o.Status {
		case EventAccepted, EventDuplicate, EventRejected:
			settled[o.ID] = true
		default:
			return fmt.Errorf("status of event %.80q is %.80q", o.ID, o.Status)
		}
	}
	for _, e := range b.Events {
		if acked := e.Seq != 0 && e.Seq <= r.AckedThrough; !acked && !settled[e.ID] {
			return fmt.Errorf("it does not say what became of event %s", e.ID)
		}
	}
	return nil
}

func checkLogs(r LogBatchResponse, b LogBatch) error {
	if r.Accepted < 0 || r.Accepted > len(b.Logs) {
		return fmt.Errorf("accepted is %d of %d entries", r.Accepted, len(b.Logs))
	}
	return nil
}
