// pgx: binary formats, statement cache in each of its modes, batches, COPY, cursors by portal, LISTEN, cancel.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

var ctx = context.Background()

func show(what string, value any) {
	if len(what) > 60 {
		what = what[:60]
	}
	fmt.Printf("%s: %+v\n", what, value)
}

func failed(what string, err error) {
	var told *pgconn.PgError
	if errors.As(err, &told) {
		show(what, fmt.Sprintf("%+v", *told))
	} else if err != nil {
		show(what, "error of the client")
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func attempt(conn *pgx.Conn, sql string, values ...any) {
	rows, err := conn.Query(ctx, sql, values...)
	if err != nil {
		failed(sql, err)
		return
	}
	var all [][]any
	for rows.Next() {
		row, err := rows.Values()
		if err != nil {
			show(sql, err)
			break
		}
		all = append(all, row)
	}
	rows.Close()
	if rows.Err() != nil {
		failed(sql, rows.Err())
		return
	}
	show(sql, fmt.Sprintf("%s %d", rows.CommandTag(), len(all)))
	for _, row := range all {
		show("row", fmt.Sprintf("%v", row))
	}
}

func statements(conn *pgx.Conn) {
	columns := "id, small, big, exact, single, double, yes, words, limited, padded, bytes, day, clock, zoned, plain, span, ident, doc, docb, numbers, texts, span4, address, net, mac, bits, spot"
	modes := []pgx.QueryExecMode{pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec, pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol}
	for _, mode := range modes {
		show("mode", mode)
		attempt(conn, "SELECT "+columns+"::text FROM everything ORDER BY id", mode)
		for id := 1; id < 4; id++ {
			attempt(conn, "SELECT name FROM parent WHERE id = $1", mode, id)
		}
		attempt(conn, "SELECT $1::int, $2::text, $3::float8, $4::bool, $5::timestamptz, $6::int[]", mode, 7, "wörds", 2.5, true, time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC), []int32{1, 2})
		for _, sql := range []string{"SELEC", "SELECT 1/0", "SELECT 'x'::int", "SELECT * FROM nowhere", "SELECT loud('hey')", "SELECT loud('error')",
			"INSERT INTO parent VALUES (1, 'x')", "INSERT INTO child (parent_id) VALUES (77)", "", ";", "SELECT 1; SELECT 2", "UPDATE parent SET name = name"} {
			attempt(conn, sql, mode)
		}
		attempt(conn, "ALTER TABLE parent ADD COLUMN added int", mode)
		attempt(conn, "SELECT * FROM parent WHERE id = $1", mode, 1)
		attempt(conn, "ALTER TABLE parent DROP COLUMN added", mode)
		attempt(conn, "SELECT * FROM parent WHERE id = $1", mode, 1)
		attempt(conn, "SELECT * FROM parent WHERE id = $1", mode, 1)
	}
	_, err := conn.Prepare(ctx, "named", "SELECT id, name FROM parent WHERE id = $1")
	must(err)
	attempt(conn, "named", 2)
	_, err = conn.Prepare(ctx, "broken", "SELECT * FROM nowhere")
	failed("prepare", err)
	must(conn.Deallocate(ctx, "named"))
	must(conn.DeallocateAll(ctx))
	results, err := conn.PgConn().Exec(ctx, "SELECT 1; SELECT 1/0; SELECT 3").ReadAll()
	failed("exec", err)
	show("results", len(results))
}

func batches(conn *pgx.Conn) {
	for _, broken := range []string{"", "SELECT 1/0", "SELECT * FROM nowhere", "SELEC"} {
		batch := &pgx.Batch{}
		batch.Queue("INSERT INTO parent VALUES ($1, $2) ON CONFLICT DO NOTHING", 50, "fifty")
		batch.Queue("SELECT name FROM parent WHERE id = $1", 50)
		if broken != "" {
			batch.Queue(broken)
		}
		batch.Queue("DELETE FROM parent WHERE id = $1", 50)
		sent := conn.SendBatch(ctx, batch)
		for range batch.Len() {
			tag, err := sent.Exec()
			failed("batch", err)
			show("batch", tag)
		}
		failed("batch", sent.Close())
	}
	pipeline := conn.PgConn().StartPipeline(ctx)
	pipeline.SendPrepare("piped", "SELECT $1::int + 1", nil)
	pipeline.SendQueryPrepared("piped", [][]byte{[]byte("1")}, nil, nil)
	must(pipeline.Sync())
	pipeline.SendQueryParams("SELECT 1/0", nil, nil, nil, nil)
	pipeline.SendQueryParams("SELECT 2", nil, nil, nil, nil)
	must(pipeline.Sync())
	pipeline.SendQueryParams("SELECT 3", nil, nil, nil, nil)
	pipeline.SendDeallocate("piped")
	must(pipeline.Sync())
	for {
		result, err := pipeline.GetResults()
		failed("pipeline", err)
		if result == nil && err == nil {
			break
		}
		if reader, ok := result.(*pgconn.ResultReader); ok {
			read := reader.Read()
			failed("piped", read.Err)
			show("piped", fmt.Sprint(read.Rows))
		}
	}
	must(pipeline.Close())
}

func transactions(conn *pgx.Conn) {
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.Serializable, AccessMode: pgx.ReadWrite})
	must(err)
	attempt(conn, "INSERT INTO parent VALUES (70, 'x')")
	inner, err := tx.Begin(ctx)
	must(err)
	attempt(conn, "SELECT 1/0")
	for _, sql := range []string{"SELECT 1", "SELEC", "SELECT id FROM child", "SELECT name FROM parent WHERE id = 3"} {
		attempt(conn, sql)
		attempt(conn, sql, pgx.QueryExecModeSimpleProtocol)
	}
	must(inner.Rollback(ctx))
	attempt(conn, "SELECT count(*) FROM parent")
	must(tx.Rollback(ctx))
	tx, err = conn.Begin(ctx)
	must(err)
	attempt(conn, "DECLARE c SCROLL CURSOR FOR SELECT id, name FROM parent ORDER BY id")
	attempt(conn, "FETCH 2 FROM c")
	attempt(conn, "FETCH BACKWARD 1 FROM c")
	attempt(conn, "CLOSE c")
	objects := tx.LargeObjects()
	oid, err := objects.Create(ctx, 0)
	must(err)
	object, err := objects.Open(ctx, oid, pgx.LargeObjectModeRead|pgx.LargeObjectModeWrite)
	must(err)
	_, err = object.Write([]byte(strings.Repeat("0123456789", 1000)))
	must(err)
	_, err = object.Seek(5, 0)
	must(err)
	read := make([]byte, 10)
	_, err = object.Read(read)
	must(err)
	show("large object", string(read))
	must(object.Close())
	must(objects.Unlink(ctx, oid))
	must(tx.Commit(ctx))
}

func copies(conn *pgx.Conn) {
	copied, err := conn.CopyFrom(ctx, pgx.Identifier{"talk", "parent"}, []string{"id", "name"}, pgx.CopyFromRows([][]any{{90, "ninety"}, {91, "x"}}))
	must(err)
	show("copied", copied)
	_, err = conn.CopyFrom(ctx, pgx.Identifier{"talk", "parent"}, []string{"id", "name"}, pgx.CopyFromRows([][]any{{90, "again"}}))
	failed("copy", err)
	_, err = conn.CopyFrom(ctx, pgx.Identifier{"nowhere"}, []string{"id"}, pgx.CopyFromRows([][]any{{1}}))
	failed("copy", err)
	var out bytes.Buffer
	_, err = conn.PgConn().CopyTo(ctx, &out, "COPY (SELECT id, name FROM parent ORDER BY id) TO STDOUT (FORMAT csv, HEADER)")
	must(err)
	show("out", out.String())
	_, err = conn.PgConn().CopyFrom(ctx, strings.NewReader("x\ty\n"), "COPY parent FROM STDIN")
	failed("copy", err)
}

func others(conn *pgx.Conn) {
	attempt(conn, "LISTEN news")
	pool, err := pgxpool.New(ctx, "")
	must(err)
	_, err = pool.Exec(ctx, "SELECT pg_notify('news', 'hello')")
	must(err)
	heard, err := conn.WaitForNotification(ctx)
	must(err)
	show("heard", heard.Channel+" "+heard.Payload)
	pool.Close()
	attempt(conn, "SET statement_timeout = 50")
	attempt(conn, "SELECT pg_sleep(10)")
	attempt(conn, "SET statement_timeout = 0")
	go func() {
		time.Sleep(400 * time.Millisecond)
		must(conn.PgConn().CancelRequest(ctx))
	}()
	attempt(conn, "SELECT pg_sleep(10)")
	attempt(conn, "SELECT 1")
}

func main() {
	config, err := pgx.ParseConfig("")
	must(err)
	config.RuntimeParams["application_name"] = "talk"
	config.OnNotice = func(_ *pgconn.PgConn, notice *pgconn.Notice) { show("notice", fmt.Sprintf("%+v", *notice)) }
	conn, err := pgx.ConnectConfig(ctx, config)
	must(err)
	schema, err := os.ReadFile(os.Getenv("TALK_SCHEMA"))
	must(err)
	_, err = conn.Exec(ctx, string(schema))
	must(err)
	attempt(conn, "SET search_path = talk, public")
	statements(conn)
	batches(conn)
	transactions(conn)
	copies(conn)
	others(conn)
	attempt(conn, "DROP SCHEMA talk CASCADE")
	must(conn.Close(ctx))
}
