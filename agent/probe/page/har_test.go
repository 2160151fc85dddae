package page

import (
	"encoding/json"
	"testing"
	"time"
)

func TestHAR(t *testing.T) {
	at := func(ms int) time.Duration { return time.Duration(ms) * time.Millisecond }
	l := &Load{
		Agent: "Chrome 156", Begin: time.UnixMilli(1795220757729), DOM: DOM{ContentLoadedStart: at(300), LoadStart: at(400)},
		Document: Resource{
			URL: "https://www.example.com/?a=b", Initiator: "navigation", Status: 200, Protocol: "h2", Type: "text/html",
			Fetch: at(1), LookupStart: at(1), LookupEnd: at(21), ConnectStart: at(21), SecureStart: at(51), ConnectEnd: at(101),
			RequestStart: at(101), ResponseStart: at(201), ResponseEnd: at(211), TransferSize: 1300, EncodedSize: 1000, DecodedSize: 4000,
		},
		Resources: []Resource{{URL: "https://www.example.com/x", Initiator: "img", Err: "refused", Start: at(211), ResponseEnd: at(215)}},
	}
	raw, err := l.HAR()
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Log struct {
			Version string
			Pages   []struct{ PageTimings struct{ OnLoad float64 } }
			Entries []struct {
				StartedDateTime string
				Time            float64
				Request         struct{ QueryString []map[string]string }
				Response        struct {
					Status, HeadersSize, BodySize int
					Content                       struct{ Size int }
				}
				Timings map[string]float64
				Err     string `json:"_error"`
			}
		}
	}
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	if got.Log.Version != "1.2" || len(got.Log.Entries) != 2 || got.Log.Pages[0].PageTimings.OnLoad != 400 {
		t.Fatalf("got %s", raw)
	}
	e := got.Log.Entries[0]
	for phase, want := range map[string]float64{"blocked": 1, "dns": 20, "connect": 80, "ssl": 50, "send": 0, "wait": 100, "receive": 10} {
		if e.Timings[phase] != want {
			t.Errorf("%s: got %v, want %v", phase, e.Timings[phase], want)
		}
	}
	if e.Time != 211 || e.StartedDateTime != "2026-11-21T00:25:57.729Z" || e.Response.HeadersSize != 300 || e.Response.Content.Size != 4000 || e.Request.QueryString[0]["value"] != "b" {
		t.Errorf("got %+v", e)
	}
	if failed := got.Log.Entries[1]; failed.Time != 4 || failed.Err != "refused" || failed.Timings["dns"] != -1 {
		t.Errorf("got %+v", failed)
	}
}
