package agent

import (
	"errors"
	"testing"
)

type upper string

func (u *upper) EnvDecode(v string) error {
	if v == "bad" {
		return errors.New("is bad")
	}
	*u = upper("decoded " + v)
	return nil
}

func TestDecode(t *testing.T) {
	type inner struct {
		Stage string `env:"STAGE"`
	}
	type outer struct {
		Name   string `env:"NAME"`
		Kept   string `env:"ABSENT"`
		Own    upper  `env:"OWN"`
		Secret Secret `env:"SECRET"`
		Inner  inner
		Other  *inner
		Plain  int
		hidden string
	}
	values := map[string]string{"NAME": "cart", "OWN": "x", "SECRET": "s", "STAGE": " Production ", "EMPTY": " "}
	o := outer{Kept: "kept", hidden: "hidden"}
	if err := decode(&o, present(values)); err != nil {
		t.Fatal(err)
	}
	if o.Name != "cart" || o.Kept != "kept" || o.Own != "decoded x" || o.Secret.Reveal() != "s" || o.Inner.Stage != "Production" || o.Other != nil || o.hidden != "hidden" {
		t.Errorf("%+v", o)
	}
	if err := decode(&o, present(map[string]string{"OWN": "bad"})); err == nil || err.Error() != "OWN: is bad" {
		t.Errorf("a bad value: %v", err)
	}
	var wrong struct {
		Count int `env:"NAME"`
	}
	if err := decode(&wrong, present(values)); err == nil {
		t.Error("a field without a format is taken")
	}
	first := present(map[string]string{"A": "first", "B": " "}).or(present(map[string]string{"A": "second", "B": "second"}))
	for name, expected := range map[string]string{"A": "first", "B": "second", "C": ""} {
		if value, ok := first(name); value != expected || ok != (expected != "") {
			t.Errorf("%s is %q, %v", name, value, ok)
		}
	}
}
