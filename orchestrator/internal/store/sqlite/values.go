package sqlite

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"reflect"

	"github.com/stavily/agents/orchestrator/internal/store/sqlstore"
)

// values are the parameters of a statement as the driver takes them, until the next call.
func (s *session) values(args []any) ([]driver.NamedValue, error) {
	s.args = s.args[:0]
	for n, arg := range args {
		value, err := valueOf(arg)
		if err != nil {
			return nil, fmt.Errorf("parameter ?%d: %w", n+1, err)
		}
		s.args = append(s.args, driver.NamedValue{Ordinal: n + 1, Value: value})
	}
	return s.args, nil
}

func valueOf(arg any) (driver.Value, error) {
	switch arg := arg.(type) {
	case nil, string, int64:
		return arg, nil
	case int:
		return int64(arg), nil
	}
	if v := reflect.ValueOf(arg); v.Kind() == reflect.String { // an id, as most are
		return v.String(), nil
	}
	return driver.DefaultParameterConverter.ConvertValue(arg) // of types that are texts and numbers in the end
}

// each calls row for each row, until one is not nil: that is stopped. err is of the driver.
func each(rows driver.Rows, row func(sqlstore.Scanner) error) (stopped, err error) {
	values := make([]driver.Value, len(rows.Columns()))
	scan := func(columns ...any) error {
		if len(columns) != len(values) {
			return fmt.Errorf("a row has %d columns and is read into %d", len(values), len(columns))
		}
		for n, to := range columns {
			if err := assign(to, values[n]); err != nil {
				return fmt.Errorf("column %d: %w", n+1, err)
			}
		}
		return nil
	}
	for {
		switch err := rows.Next(values); {
		case errors.Is(err, io.EOF):
			return nil, nil
		case err != nil:
			return nil, err
		}
		if stopped = row(scan); stopped != nil {
			return stopped, nil
		}
	}
}

// assign puts a text or a number of a row where to points.
func assign(to any, from driver.Value) error {
	switch from := from.(type) {
	case string:
		switch to := to.(type) {
		case *[]byte:
			*to = []byte(from)
			return nil
		case *string:
			*to = from
			return nil
		}
		if to := reflect.ValueOf(to).Elem(); to.Kind() == reflect.String {
			to.SetString(from)
			return nil
		}
	case int64:
		if to := reflect.ValueOf(to).Elem(); to.CanInt() && !to.OverflowInt(from) {
			to.SetInt(from)
			return nil
		}
	}
	return fmt.Errorf("%T cannot be read into %T", from, to)
}
