package config

import (
	"reflect"
	"regexp"
	"strings"
	"testing"
)

func TestTemplateSetsNothing(t *testing.T) {
	got, err := Load(write(t, "natrix.ini", template), "")
	if err != nil || !reflect.DeepEqual(got, Default()) {
		t.Errorf("got %+v, %v, want the defaults", got, err)
	}
}

// TestTemplateIsComplete takes the comments away: every setting is there, with
// a value that is right.
func TestTemplateIsComplete(t *testing.T) {
	all := regexp.MustCompile(`(?m)^;`).ReplaceAllString(template, "")
	c := Default()
	if err := c.readFile("natrix.ini", []byte(all)); err != nil {
		t.Error(err)
	}
	if !reflect.DeepEqual(c.AMQP, Default().AMQP) {
		t.Errorf("a default is not what the template says: got %+v, want %+v", c.AMQP, Default().AMQP)
	}
	for _, s := range settings() {
		if s.set == nil {
			continue
		}
		_, section, found := strings.Cut(template, "["+strings.ToUpper(s.section)+"]")
		section, _, _ = strings.Cut(section, "\n[")
		if !found || !strings.Contains(section, "\n;"+s.key+" = ") {
			t.Errorf("[%s] %s is not in the template", s.section, s.key)
		}
	}
}
