// Reads the daemons' metrics.

package e2e

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// metric reads one of the daemon's metrics, of a name without labels.
func (d *Daemon) metric(name string) (float64, error) {
	page, err := d.metrics()
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(page) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strconv.ParseFloat(strings.TrimSpace(value), 64)
		}
	}
	return 0, fmt.Errorf("%s has no metric %s", d.name, name)
}

// metrics is the whole page.
func (d *Daemon) metrics() (string, error) {
	response, err := http.Get("http://" + d.http + "/metrics")
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	page, err := io.ReadAll(response.Body)
	return string(page), err
}

// mustHaveRefusedNothing fails unless the daemon, since its start, has been asked and has sealed and opened all that it
// was asked for. Status may have been bad: for the first milliseconds, the daemon has not reached its root key.
func (d *Daemon) mustHaveRefusedNothing() {
	d.t.Helper()
	page, err := d.metrics()
	if err != nil {
		d.t.Fatal(err)
	}
	good := false
	for line := range strings.Lines(page) {
		if !strings.HasPrefix(line, "dekhand_requests_total{") || strings.HasSuffix(line, " 0\n") {
			continue
		}
		switch {
		case strings.Contains(line, `code="OK"`):
			good = true
		case !strings.Contains(line, `method="Status"`):
			d.t.Errorf("%s has refused requests: %s", d.name, strings.TrimSpace(line))
		}
	}
	if !good {
		d.t.Errorf("%s has answered no request", d.name)
	}
}

// awaitGoodCall waits until a call to the root key has succeeded in a later second than the given moment's, and gives
// the time since the moment: the metric knows no less than seconds.
func (d *Daemon) awaitGoodCall(since time.Time) time.Duration {
	d.t.Helper()
	eventually(d.t, 2*time.Minute, d.name+" calls its root key", func() error {
		at, err := d.metric("dekhand_last_good_root_key_call_timestamp_seconds")
		if err == nil && int64(at) <= since.Unix() {
			err = fmt.Errorf("the last good call was at %.0f", at)
		}
		return err
	})
	return time.Since(since)
}
