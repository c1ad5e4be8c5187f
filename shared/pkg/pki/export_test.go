package pki

import "time"

// SetSignLimit replaces the limit of commands and returns what puts it back.
func SetSignLimit(d time.Duration) (restore func()) {
	was := signLimit
	signLimit = d
	return func() { signLimit = was }
}
