package rows

import (
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
)

// T is a row that is being played. A failure ends the row.
type T struct{ row string }

type failure string

func (t *T) Fail(format string, arguments ...any) { panic(failure(fmt.Sprintf(format, arguments...))) }

func (t *T) Must(err error) {
	if err != nil {
		t.Fail("%v", err)
	}
}

// Topic is a name that only this row in this run uses, for topics, groups and ids.
func (t *T) Topic(name string) string { return prefix + t.row + "-" + name }

// refused checks that there is an error with this Kafka code.
func (t *T) refused(client Client, what string, err error, code int16) {
	if err == nil {
		t.Fail("%s succeeded", what)
	}
	if got := client.Code(err); got != code {
		t.Fail("%s is refused with code %d instead of %d: %v", what, got, code, err)
	}
}

func same[V any](t *T, what string, want, got []V) {
	for at := range max(len(want), len(got)) {
		w, g := "nothing", "nothing"
		if at < len(want) {
			w = fmt.Sprint(want[at])
		}
		if at < len(got) {
			g = fmt.Sprint(got[at])
		}
		if w != g {
			t.Fail("%s: of %d, number %d is %.200s instead of %.200s", what, len(want), at+1, g, w)
		}
	}
}

// must returns the result of a call of the library, or fails the row with its error.
func must[V any](value V, err error) func(*T, string) V {
	return func(t *T, what string) V {
		if err != nil {
			t.Fail("%s: %v", what, err)
		}
		return value
	}
}

// Main plays the rows in the arguments at the same time, and prints a line for each.
func Main(client Client) {
	var playing sync.WaitGroup
	for _, row := range os.Args[1:] {
		if why, lacks := client.Lacks()[row]; lacks {
			fmt.Println("none", row, why)
			continue
		}
		playing.Add(1)
		go func() {
			defer playing.Done()
			fmt.Println(play(client, row))
		}()
	}
	playing.Wait()
}

func play(client Client, row string) (said string) {
	defer func() {
		switch what := recover().(type) {
		case nil:
		case failure:
			said = fmt.Sprintf("FAIL %s %s", row, strings.ReplaceAll(string(what), "\n", " "))
		default:
			fmt.Fprintf(os.Stderr, "%s: %v\n%s", row, what, debug.Stack())
			said = fmt.Sprintf("FAIL %s %v", row, what)
		}
	}()
	story, written := stories[row]
	if !written {
		return fmt.Sprintf("FAIL %s not written yet", row)
	}
	story(&T{strings.TrimSuffix(strings.TrimSuffix(row, "-before"), "-after")}, client)
	return "ok " + row
}

func sorted(numbers []int32) []int32 {
	numbers = slices.Clone(numbers)
	slices.Sort(numbers)
	return numbers
}
