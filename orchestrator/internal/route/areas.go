package route

import (
	"slices"
	"strings"

	"github.com/stavily/agents/shared/pkg/api"
)

// Areas are the parts of the API that an API token can be limited to, in order.
func Areas() []string {
	var all []string
	for _, row := range table {
		if row.Listener == Operator && slices.Contains(row.Allow, APIToken) {
			all = append(all, areaOf(row.Pattern))
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// CheckAreas refuses a part that the API does not have: a token for it would be good for nothing.
func CheckAreas(areas []string) error {
	for _, area := range areas {
		if !slices.Contains(Areas(), area) {
			return api.Errorf(api.CodeInvalid, "Area %.40q: must be one of %s.", area, strings.Join(Areas(), ", "))
		}
	}
	return nil
}
