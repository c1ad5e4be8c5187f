package store

import "time"

// Secret is a value that workflows name. Only its newest version is kept, and that sealed:
// package secret opens it.
type Secret struct {
	Name      string
	Version   int    // from 1; never given again, also after it was deleted and made anew
	Key       string // id of the key that sealed it
	Sealed    []byte
	CreatedAt time.Time
	UpdatedAt time.Time
	UpdatedBy string
	Deleted   bool // its version is remembered, its value is gone
}
