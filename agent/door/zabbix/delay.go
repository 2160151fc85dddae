package zabbix

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// delay is an update interval: 30s;10s/1-5,09:00-18:00;h9m/30 ("Custom
// intervals", Zabbix manual).
type delay struct {
	simple    time.Duration // 0: only at the times of the schedules
	flexible  []flexible
	schedules []moments
}

// flexible is an interval that holds in a window of the week.
type flexible struct {
	every          time.Duration // 0: do not poll
	fromDay, toDay int           // 1 is Monday
	fromMin, toMin int           // minutes of the day; the end is not part of it
}

// moments are points in time at which to poll: sets of months' days, weekdays,
// hours, minutes and seconds.
type moments struct {
	monthDays, weekDays, hours, minutes, seconds uint64 // bit sets
}

var errInterval = errors.New("Invalid update interval.")

// parseDelay reads an update interval, macros expanded.
func parseDelay(s string) (delay, error) {
	var d delay
	parts := strings.Split(s, ";")
	simple, err := seconds(parts[0])
	if err != nil || simple > 24*time.Hour {
		return d, errInterval
	}
	d.simple = simple
	for _, part := range parts[1:] {
		if err := d.add(strings.TrimSpace(part)); err != nil {
			return d, errInterval
		}
	}
	if d.simple == 0 && len(d.flexible) == 0 && len(d.schedules) == 0 {
		return d, errInterval
	}
	return d, nil
}

func (d *delay) add(part string) error {
	if part == "" {
		return errInterval
	}
	if part[0] >= '0' && part[0] <= '9' {
		f, err := parseFlexible(part)
		d.flexible = append(d.flexible, f)
		return err
	}
	m, err := parseMoments(part)
	d.schedules = append(d.schedules, m)
	return err
}

// seconds reads a number of seconds, or one with a unit: 30, 5m, 1h.
func seconds(s string) (time.Duration, error) {
	s = strings.TrimSpace(s)
	unit := time.Second
	if s != "" {
		units := map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour, 'w': 7 * 24 * time.Hour}
		if u, ok := units[s[len(s)-1]]; ok {
			unit, s = u, s[:len(s)-1]
		}
	}
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		return 0, fmt.Errorf("%q is not a number of seconds", s)
	}
	return time.Duration(n) * unit, nil
}

func parseFlexible(s string) (f flexible, err error) {
	every, period, found := strings.Cut(s, "/")
	days, times, both := strings.Cut(period, ",")
	from, to, ranged := strings.Cut(times, "-")
	if !found || !both || !ranged {
		return f, errInterval
	}
	if f.every, err = seconds(every); err != nil {
		return f, err
	}
	if f.fromDay, f.toDay, err = span(days, 1, 7); err != nil {
		return f, err
	}
	if f.fromMin, err = minute(from); err != nil {
		return f, err
	}
	if f.toMin, err = minute(to); err != nil || f.toMin <= f.fromMin {
		return f, errInterval
	}
	return f, nil
}

// minute reads a time of day, up to 24:00.
func minute(s string) (int, error) {
	h, m, found := strings.Cut(s, ":")
	hour, err := strconv.ParseUint(h, 10, 8)
	min, err2 := strconv.ParseUint(m, 10, 8)
	if !found || err != nil || err2 != nil || hour > 24 || min > 59 || hour == 24 && min > 0 {
		return 0, errInterval
	}
	return int(hour*60 + min), nil
}

// span reads a number, or two with a hyphen.
func span(s string, least, most int) (from, to int, err error) {
	a, b, ranged := strings.Cut(s, "-")
	if from, err = strconv.Atoi(a); err != nil {
		return 0, 0, errInterval
	}
	to = from
	if ranged {
		if to, err = strconv.Atoi(b); err != nil {
			return 0, 0, errInterval
		}
	}
	if from < least || to > most || from > to {
		return 0, 0, errInterval
	}
	return from, to, nil
}

// parseMoments reads a scheduling interval such as md1-15wd1-5h9-18m0-59/15s30.
// What is larger than what it names is any, what is smaller is 0.
func parseMoments(s string) (moments, error) {
	var m moments
	fields := []struct {
		prefix      string
		set         *uint64
		least, most int
	}{
		{"md", &m.monthDays, 1, 31}, {"wd", &m.weekDays, 1, 7}, {"h", &m.hours, 0, 23}, {"m", &m.minutes, 0, 59}, {"s", &m.seconds, 0, 59},
	}
	finest := -1
	for i, f := range fields {
		if !strings.HasPrefix(s, f.prefix) || f.prefix == "m" && strings.HasPrefix(s, "md") {
			continue
		}
		s = s[len(f.prefix):]
		end := strings.IndexFunc(s, func(r rune) bool { return !strings.ContainsRune("0123456789-/,", r) })
		if end < 0 {
			end = len(s)
		}
		set, err := bits(s[:end], f.least, f.most)
		if err != nil {
			return m, err
		}
		*f.set, s, finest = set, s[end:], i
	}
	if s != "" || finest < 0 {
		return m, errInterval
	}
	for i, f := range fields {
		if *f.set == 0 && i > finest && i >= 2 {
			*f.set = 1 // at 0
		} else if *f.set == 0 {
			*f.set, _ = bits(fmt.Sprintf("%d-%d", f.least, f.most), f.least, f.most)
		}
	}
	return m, nil
}

// bits reads a list of numbers, ranges and steps: 1,5-10,/15,0-30/10.
func bits(s string, least, most int) (set uint64, err error) {
	for _, part := range strings.Split(s, ",") {
		window, stepText, stepped := strings.Cut(part, "/")
		from, to, step := least, most, 1
		if window != "" || !stepped {
			if from, to, err = span(window, least, most); err != nil {
				return 0, err
			}
		}
		if stepped {
			if step, err = strconv.Atoi(stepText); err != nil || step < 1 || step > most {
				return 0, errInterval
			}
		}
		for n := from; n <= to; n += step {
			set |= 1 << n
		}
	}
	return set, nil
}

// next is the first time after now at which an item with this seed is due: what
// Zabbix computes, so that values line up with those of other proxies. It is
// zero if the item is never due.
func (d delay) next(now time.Time, seed uint64) time.Time {
	soonest := d.nextSimple(now, seed)
	for _, m := range d.schedules {
		if at := m.next(now); !at.IsZero() && (soonest.IsZero() || at.Before(soonest)) {
			soonest = at
		}
	}
	return soonest
}

// nextSimple follows the intervals: where another one begins to hold before the
// time that is found, that one is asked from its beginning on.
func (d delay) nextSimple(now time.Time, seed uint64) time.Time {
	for from, least := now, now.Unix()+1; from.Sub(now) < 8*24*time.Hour; {
		change := d.change(from)
		if every := d.at(from); every > 0 {
			if at := spread(least, every, seed); change.IsZero() || at.Before(change) {
				return at
			}
		}
		if change.IsZero() {
			break
		}
		from, least = change, change.Unix()
	}
	return time.Time{}
}

// spread is the first time from a second on of those that an interval has for
// a seed.
func spread(least int64, every time.Duration, seed uint64) time.Time {
	e := int64(every / time.Second)
	at := e*(least/e) + int64(seed%uint64(e))
	if at < least {
		at += e
	}
	return time.Unix(at, 0)
}

// at is the interval that holds at a time: the smallest of the flexible ones.
func (d delay) at(t time.Time) time.Duration {
	every, found := d.simple, false
	for _, f := range d.flexible {
		if f.holds(t) && (!found || f.every < every) {
			every, found = f.every, true
		}
	}
	return every
}

func (f flexible) holds(t time.Time) bool {
	day, min := weekday(t), t.Hour()*60+t.Minute()
	return f.fromDay <= day && day <= f.toDay && f.fromMin <= min && min < f.toMin
}

func weekday(t time.Time) int { return (int(t.Weekday())+6)%7 + 1 }

// change is the next time at which another interval may hold, zero for never.
func (d delay) change(t time.Time) time.Time {
	var soonest time.Time
	midnight := time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, t.Location())
	for _, f := range d.flexible {
		for day := range 8 {
			date := midnight.AddDate(0, 0, day)
			if wd := weekday(date); wd < f.fromDay || wd > f.toDay {
				continue
			}
			for _, min := range []int{f.fromMin, f.toMin} {
				at := time.Date(date.Year(), date.Month(), date.Day(), 0, min, 0, 0, t.Location())
				if at.After(t) && (soonest.IsZero() || at.Before(soonest)) {
					soonest = at
				}
			}
		}
	}
	return soonest
}

// next is the first moment after now. It is zero if none comes within years.
func (m moments) next(now time.Time) time.Time {
	t := now.Truncate(time.Second).Add(time.Second)
	limit := t.AddDate(5, 0, 0)
	for t.Before(limit) {
		switch {
		case m.monthDays&(1<<t.Day()) == 0 || m.weekDays&(1<<weekday(t)) == 0:
			t = time.Date(t.Year(), t.Month(), t.Day()+1, 0, 0, 0, 0, t.Location())
		case m.hours&(1<<t.Hour()) == 0:
			t = t.Truncate(time.Second).Add(time.Hour - time.Duration(t.Minute())*time.Minute - time.Duration(t.Second())*time.Second)
		case m.minutes&(1<<t.Minute()) == 0:
			t = t.Add(time.Minute - time.Duration(t.Second())*time.Second)
		case m.seconds&(1<<t.Second()) == 0:
			t = t.Add(time.Second)
		default:
			return t
		}
	}
	return time.Time{}
}
