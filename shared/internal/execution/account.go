package execution

// Account says what became of results since the journal was opened.
type Account struct {
	Inherited uint64 `json:"inherited"` // of former processes, that waited at the opening
	Ended     uint64 `json:"ended"`     // since then; with them what the opening ended
	Reported  uint64 `json:"reported"`
	Waiting   uint64 `json:"waiting"` // that the journal holds: counted there, and not by the difference
}

// Unaccounted is how many results there are of which nothing says what became, or with a
// minus how many are counted twice: 0, or this program has a fault.
func (a Account) Unaccounted() int64 {
	return int64(a.Inherited + a.Ended - a.Reported - a.Waiting)
}

func (a *Account) count(from, to Phase) {
	switch {
	case to == Ended:
		a.Ended++
	case from == Ended && to == Reported:
		a.Reported++
	}
}

// Account is how it is now.
func (j *Journal) Account() Account {
	j.mu.Lock()
	defer j.mu.Unlock()
	a := j.counts
	a.Waiting = uint64(len(j.waiting))
	return a
}
