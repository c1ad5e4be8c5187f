package strictyaml

// Nearest returns the name that word was most likely meant to be, or "" when none
// is near. At most half of the letters may differ (Levenshtein distance): a swapped
// pair, the commonest slip, counts as two.
func Nearest(word string, names []string) string {
	best, most := "", max(len(word)/2, 1)
	for _, name := range names {
		if d := distance(word, name); d <= most {
			best, most = name, d-1
		}
	}
	return best
}

// distance is the Levenshtein distance of two short words, in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diagonal
			if a[i-1] != b[j-1] {
				cost++
			}
			diagonal = row[j]
			row[j] = min(cost, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}
