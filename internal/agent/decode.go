package agent

import (
	"fmt"
	"reflect"
)

// lookup returns the value of a variable, and whether it is set.
type lookup func(name string) (string, bool)

// or looks up in another place what is not in the first.
func (l lookup) or(other lookup) lookup {
	return func(name string) (string, bool) {
		if value, ok := l(name); ok {
			return value, true
		}
		return other(name)
	}
}

// decoder is a type of field with a format of its own.
type decoder interface{ EnvDecode(value string) error }

// decode sets the fields of a struct, and of the structs in it, from the variables
// that their env tags name. Fields without a variable stay as they are.
func decode(target any, from lookup) error {
	fields := reflect.ValueOf(target).Elem()
	for i := range fields.NumField() {
		field, tag := fields.Field(i), fields.Type().Field(i)
		if !tag.IsExported() {
			continue
		}
		name := tag.Tag.Get("env")
		if name == "" {
			if _, custom := field.Addr().Interface().(decoder); !custom && field.Kind() == reflect.Struct {
				if err := decode(field.Addr().Interface(), from); err != nil {
					return err
				}
			}
			continue
		}
		value, ok := from(name)
		if !ok {
			continue
		}
		switch into, custom := field.Addr().Interface().(decoder); {
		case custom:
			if err := into.EnvDecode(value); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		case field.Kind() == reflect.String:
			field.SetString(value)
		default:
			return fmt.Errorf("%s: the field %s has the type %s", name, tag.Name, field.Type())
		}
	}
	return nil
}
