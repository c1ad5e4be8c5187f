package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// Code is the class of an error, stable for programs.
type Code string

// The error classes.
const (
	CodeMalformed        Code = "malformed"         // the body is not what the route takes
	CodeInvalid          Code = "invalid"           // well-formed, but a value is not allowed
	CodeNoCertificate    Code = "no_certificate"    // no client certificate
	CodeBadCertificate   Code = "bad_certificate"   // unknown, expired or superseded certificate
	CodeBadToken         Code = "bad_token"         // enrolment token unknown, expired or used
	CodeRevoked          Code = "agent_revoked"     // this agent was revoked
	CodeQuarantined      Code = "agent_quarantined" // this agent waits for an admin to let it in again
	CodeIdentityMismatch Code = "identity_mismatch" // path or body names another agent
	CodeForbidden        Code = "forbidden"         // the principal may not use this route
	CodeUnauthenticated  Code = "unauthenticated"   // no user is logged in; operators only, never an agent
	CodeNotFound         Code = "not_found"
	CodeConflict         Code = "conflict"  // stale lease or attempt, or already exists
	CodeGone             Code = "gone"      // already final with another outcome
	CodeTooLarge         Code = "too_large" // body over the route's limit
	CodeRateLimited      Code = "rate_limited"
	CodeUnavailable      Code = "unavailable" // try again later
	CodeInternal         Code = "internal"
)

// statusOf maps every class to its HTTP status (RFC 9110).
var statusOf = map[Code]int{
	CodeMalformed:        http.StatusBadRequest,
	CodeInvalid:          http.StatusUnprocessableEntity,
	CodeNoCertificate:    http.StatusUnauthorized,
	CodeBadCertificate:   http.StatusUnauthorized,
	CodeBadToken:         http.StatusUnauthorized,
	CodeRevoked:          http.StatusForbidden,
	CodeQuarantined:      http.StatusForbidden,
	CodeIdentityMismatch: http.StatusForbidden,
	CodeForbidden:        http.StatusForbidden,
	CodeUnauthenticated:  http.StatusUnauthorized,
	CodeNotFound:         http.StatusNotFound,
	CodeConflict:         http.StatusConflict,
	CodeGone:             http.StatusGone,
	CodeTooLarge:         http.StatusRequestEntityTooLarge,
	CodeRateLimited:      http.StatusTooManyRequests,
	CodeUnavailable:      http.StatusServiceUnavailable,
	CodeInternal:         http.StatusInternalServerError,
}

// Error is an answer that is not a success. Message is a sentence for a person
// that says what to do.
type Error struct {
	Code       Code            `json:"code"`
	Message    string          `json:"message"`
	Details    json.RawMessage `json:"details,omitempty"`
	RequestID  string          `json:"request_id,omitempty"`
	HTTPStatus int             `json:"-"` // as received; 0 on the sending side
	RetryAfter time.Duration   `json:"-"` // from Retry-After, or 0
}

// ErrorBody is the JSON document around an Error.
type ErrorBody struct {
	Error *Error `json:"error"`
}

// Errorf makes an Error of a class with a message.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

func (e *Error) Error() string { return string(e.Code) + ": " + e.Message }

// Status is the HTTP status of the error: as received, else by its class.
func (e *Error) Status() int {
	if e.HTTPStatus != 0 {
		return e.HTTPStatus
	}
	if s, ok := statusOf[e.Code]; ok {
		return s
	}
	return http.StatusInternalServerError
}

// Retryable reports whether the same request may succeed later: 408, 425, 429
// and every 5xx, never another 4xx.
func (e *Error) Retryable() bool { return retryableStatus(e.Status()) }

func retryableStatus(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	}
	return status >= 500
}

// CodeOf returns the class of err, or "" when err carries no *Error.
func CodeOf(err error) Code {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}
