package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// retireCron takes the lines by which the original client reported every minute
// out of root's crontab: the agent reports by itself.
func (m Manager) retireCron(ctx context.Context) (string, error) {
	if m.Root != "" && !m.booted() {
		return "left alone", nil
	}
	table, err := exec.CommandContext(ctx, "crontab", "-l").Output()
	if errors.Is(err, exec.ErrNotFound) {
		return "no cron here", nil
	}
	if err != nil { // nor is there a table
		return "nothing of natrix in it", nil
	}
	var kept bytes.Buffer
	retired := 0
	for line := range bytes.Lines(table) {
		if reports(string(line)) {
			retired++
			continue
		}
		kept.Write(line)
	}
	if retired == 0 {
		return "nothing of natrix in it", nil
	}
	replace := exec.CommandContext(ctx, "crontab", "-")
	replace.Stdin = &kept
	if said, err := replace.CombinedOutput(); err != nil {
		return "", fmt.Errorf("crontab -: %w: %s", err, bytes.TrimSpace(said))
	}
	return fmt.Sprintf("%d lines of the original client taken out: the agent reports by itself", retired), nil
}

// reports reports whether a line of a crontab is one that the original wrote.
func reports(line string) bool {
	return !strings.HasPrefix(strings.TrimSpace(line), "#") && strings.Contains(line, "natrix report ")
}
