package wire

import (
	"errors"
	"fmt"
)

// Code is the retcode of a failed answer, decimal MM NNN: module 00 is the
// transport and the gateway, 03 the command.
type Code int

// The codes of BA/1.
const (
	Malformed         Code = 101
	TooLarge          Code = 102
	UnknownMethod     Code = 103
	MissingID         Code = 104
	NotAuthorized     Code = 105
	InProgress        Code = 106
	UnsupportedProto  Code = 107
	TooManyRequests   Code = 108
	Expired           Code = 109
	BadSignature      Code = 110
	RedirectRefused   Code = 201
	TooManyRedirects  Code = 202
	NoSuchHost        Code = 203
	HostOffline       Code = 204
	HostLate          Code = 205
	SomeFailed        Code = 206
	MissingParams     Code = 3020
	InvalidParams     Code = 3021
	Denied            Code = 3022
	NoSuchUser        Code = 3023
	NoSuchGroup       Code = 3024
	CannotSwitch      Code = 3025
	Timeout           Code = 3026
	Cancelled         Code = 3027
	TooManyCommands   Code = 3028
	CannotStart       Code = 3029
	SyntaxError       Code = 3030
	NoSuchTask        Code = 3031
	ResultExpired     Code = 3032
	ResourceLimit     Code = 3033
	InvalidSchedule   Code = 3041
	ScheduleTableFull Code = 3042
	CollectorFailed   Code = 3051
	NotAvailable      Code = 3052
)

// String is the message that goes with the code.
func (c Code) String() string {
	switch c {
	case Malformed:
		return "Malformed message"
	case TooLarge:
		return "Message too large"
	case UnknownMethod:
		return "Unknown method"
	case MissingID:
		return "Missing id"
	case NotAuthorized:
		return "Not authorized"
	case InProgress:
		return "Duplicate id in progress"
	case UnsupportedProto:
		return "Unsupported protocol version"
	case TooManyRequests:
		return "Too many requests"
	case Expired:
		return "Request expired"
	case BadSignature:
		return "Bad signature"
	case RedirectRefused:
		return "Redirect refused"
	case TooManyRedirects:
		return "Too many redirects"
	case NoSuchHost:
		return "No such host"
	case HostOffline:
		return "Host offline"
	case HostLate:
		return "Host did not answer in time"
	case SomeFailed:
		return "Some hosts failed"
	case MissingParams:
		return "Missing params"
	case InvalidParams:
		return "Invalid params"
	case Denied:
		return "Denied by policy"
	case NoSuchUser:
		return "No such user"
	case NoSuchGroup:
		return "No such group"
	case CannotSwitch:
		return "Cannot switch user"
	case Timeout:
		return "Execution timeout"
	case Cancelled:
		return "Cancelled"
	case TooManyCommands:
		return "Too many running commands"
	case CannotStart:
		return "Cannot start command"
	case SyntaxError:
		return "Syntax error in command"
	case NoSuchTask:
		return "No such task"
	case ResultExpired:
		return "Result expired"
	case ResourceLimit:
		return "Resource limit exceeded"
	case InvalidSchedule:
		return "Invalid schedule"
	case ScheduleTableFull:
		return "Schedule table full"
	case CollectorFailed:
		return "Collector failed"
	case NotAvailable:
		return "Not available on this system"
	}
	return fmt.Sprintf("Code %d", int(c))
}

// Failure is an error with its code.
type Failure struct {
	Code   Code
	Detail string // for people; may be empty
}

func (f *Failure) Error() string {
	if f.Detail == "" {
		return f.Code.String()
	}
	return f.Code.String() + ": " + f.Detail
}

// Fail is an error with that code.
func Fail(code Code, format string, args ...any) *Failure {
	return &Failure{code, fmt.Sprintf(format, args...)}
}

// AsFailure is the failure that an error is or wraps: one of the collector, if
// it is neither.
func AsFailure(err error) *Failure {
	var f *Failure
	if errors.As(err, &f) {
		return f
	}
	return &Failure{CollectorFailed, err.Error()}
}
