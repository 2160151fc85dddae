package config

import (
	"errors"
	"fmt"
	"strings"

	"github.com/google/shlex"
	"github.com/robfig/cron/v3"
)

// scheduled reads a line of the schedule: when, then what.
func scheduled(name, line string) (Scheduled, error) {
	words, err := shlex.Split(line)
	if err != nil {
		return Scheduled{}, fmt.Errorf("split into words: %w", err)
	}
	n := 5 // the fields of crontab(5)
	if strings.HasPrefix(line, "@every") {
		n = 2
	} else if strings.HasPrefix(line, "@") {
		n = 1
	}
	if len(words) <= n {
		return Scheduled{}, errors.New("wants when and what, such as */5 * * * * ping 192.0.2.1")
	}
	job := Scheduled{Name: name, When: strings.Join(words[:n], " "), Command: words[n:]}
	if _, err := cron.ParseStandard(job.When); err != nil {
		return Scheduled{}, fmt.Errorf("%q is not a time: %w", job.When, err)
	}
	return job, nil
}
