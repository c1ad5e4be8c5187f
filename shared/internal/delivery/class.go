package delivery

import (
	"errors"
	"net/http"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
)

// Class is what an error means for the batch.
type Class string

// The classes of errors.
const (
	Transient Class = "transient" // the same batch may be taken later
	Oversize  Class = "oversize"  // a smaller one may be taken now, and the same one later
	Refused   Class = "refused"   // this batch will never be taken
)

// Classify tells what an error of the client means and how long the orchestrator asked
// to wait. Only an answer of the orchestrator's own about the content is a refusal; an
// error page of a proxy carries no *api.Error and never costs an event.
func Classify(err error) (Class, time.Duration) {
	if api.TooLargeBetween(err) {
		return Oversize, api.RetryAfter(err)
	}
	var answer *api.Error
	if !errors.As(err, &answer) {
		return Transient, 0
	}
	switch answer.Status() {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
		return Refused, answer.RetryAfter
	}
	return Transient, answer.RetryAfter
}
