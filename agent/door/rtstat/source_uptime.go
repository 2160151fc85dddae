package rtstat

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/natrix-os/natrix/sysinfo"
)

// uptimeWords are what uptime(1) prints: strings all of them.
type uptimeWords struct {
	Time   string `json:"time"`
	Uptime string `json:"uptime"`
	Users  string `json:"users"`
	One    string `json:"la1"`
	Five   string `json:"la5"`
	Quart  string `json:"la15"`
}

func uptime(m sysinfo.Machine) source {
	return source{name: "uptime", read: func(_ context.Context, now sysinfo.Sample) (any, error) {
		users, err := sessions(filepath.Join("/", m.Root, "run/utmp"))
		return uptimeWords{
			now.Time.Local().Format(time.TimeOnly), upFor(now.Uptime), strconv.Itoa(users),
			average(now.Load.One), average(now.Load.Five), average(now.Load.Fifteen),
		}, err
	}}
}

func average(load float64) string { return strconv.FormatFloat(load, 'f', 2, 64) }

// upFor words a duration as procps does, which pads the hour if days precede it.
func upFor(d time.Duration) string {
	days, hours, minutes := int(d.Hours())/24, int(d.Hours())%24, int(d.Minutes())%60
	text := ""
	switch {
	case days == 1:
		text = "1 day, "
	case days > 1:
		text = fmt.Sprintf("%d days, ", days)
	}
	switch {
	case hours == 0:
		return text + fmt.Sprintf("%d min", minutes)
	case days == 0:
		return fmt.Sprintf("%d:%02d", hours, minutes)
	}
	return text + fmt.Sprintf("%2d:%02d", hours, minutes)
}

// Of a record of utmp(5), which has the same size on all 32-bit machines and
// on amd64; its other fields do not matter here.
const (
	utmpRecord  = 384
	userProcess = 7 // a session
)

// sessions counts those who have logged in. A machine without the file, such as
// an appliance, knows of nobody.
func sessions(file string) (int, error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	n := 0
	for r := bytes.NewBuffer(b); r.Len() >= utmpRecord; {
		if binary.NativeEndian.Uint16(r.Next(utmpRecord)) == userProcess {
			n++
		}
	}
	return n, nil
}
