//! tokio-postgres: everything prepared, binary, pipelined by concurrent futures; portals, COPY, cancel.

use std::{env, error::Error, fs, time::Duration};

use bytes::Bytes;
use futures_util::{future, stream, SinkExt, StreamExt, TryStreamExt};
use tokio_postgres::{types::ToSql, Client, Config, NoTls, SimpleQueryMessage};

type Outcome<T> = Result<T, Box<dyn Error>>;

fn show(what: &str, value: impl std::fmt::Debug) {
    let what: String = what.chars().take(60).collect();
    println!("{what}: {value:?}");
}

fn failed(what: &str, error: tokio_postgres::Error) {
    match error.as_db_error() {
        Some(told) => show(what, told),
        None => show(what, "error of the client"),
    }
}

async fn simple(client: &Client, sql: &str) {
    match client.simple_query(sql).await {
        Ok(messages) => {
            for message in messages {
                match message {
                    SimpleQueryMessage::Row(row) => {
                        let values: Vec<_> = (0..row.len()).map(|index| row.get(index)).collect();
                        show(sql, values);
                    }
                    SimpleQueryMessage::CommandComplete(count) => show(sql, count),
                    _ => {}
                }
            }
        }
        Err(error) => failed(sql, error),
    }
}

async fn attempt(client: &Client, sql: &str, values: &[&(dyn ToSql + Sync)]) {
    match client.query(sql, values).await {
        Ok(rows) => show(sql, rows),
        Err(error) => failed(sql, error),
    }
}

const WRONG: &[&str] = &[
    "SELEC", "SELECT 1/0", "SELECT 'x'::int", "SELECT * FROM nowhere", "SELECT loud('hey')", "SELECT loud('error')",
    "INSERT INTO parent VALUES (1, 'x')", "INSERT INTO child (parent_id) VALUES (77)", "", ";", "SELECT 1; SELECT 2",
    "UPDATE parent SET name = name",
];

async fn statements(client: &Client) -> Outcome<()> {
    attempt(client, "SELECT * FROM everything ORDER BY id", &[]).await;
    simple(client, "SELECT * FROM everything ORDER BY id").await;
    let by_id = client.prepare("SELECT name FROM parent WHERE id = $1").await?;
    for id in 1..4_i32 {
        show("by id", client.query_opt(&by_id, &[&id]).await?.map(|row| row.get::<_, String>(0)));
    }
    let piped = future::join_all((1..4_i32).map(|id| {
        let by_id = by_id.clone();
        async move { client.query_one(&by_id, &[&id]).await.map(|row| row.get::<_, String>(0)) }
    }))
    .await;
    show("piped", piped.into_iter().collect::<Result<Vec<_>, _>>()?);
    for sql in WRONG {
        attempt(client, sql, &[]).await;
        simple(client, sql).await;
    }
    show("executed", client.execute("DELETE FROM parent WHERE id = $1", &[&12345_i32]).await?);
    let (wrong, right) = future::try_join(client.prepare("SELECT 1/0"), client.prepare("SELECT 2")).await?;
    // They're given up after both: a query that drops its own statement closes it before or after the other is bound.
    let (first, second) = future::join(client.query(&wrong, &[]), client.query(&right, &[])).await;
    first.map(|rows| show("first", rows)).unwrap_or_else(|error| failed("first", error));
    show("second", second?);
    simple(client, "ALTER TABLE parent ADD COLUMN added int").await;
    let wide = client.prepare("SELECT * FROM parent WHERE id = $1").await?;
    simple(client, "ALTER TABLE parent DROP COLUMN added").await;
    match client.query(&wide, &[&1_i32]).await {
        Ok(rows) => show("wide", rows),
        Err(error) => failed("wide", error),
    }
    Ok(())
}

async fn transactions(client: &mut Client) -> Outcome<()> {
    let mut outer = client.transaction().await?;
    outer.execute("INSERT INTO parent VALUES (70, 'x')", &[]).await?;
    let inner = outer.transaction().await?;
    if let Err(error) = inner.query("SELECT 1/0", &[]).await {
        failed("inner", error);
    }
    for sql in ["SELECT 1", "SELEC", "SELECT id FROM child"] {
        if let Err(error) = inner.query(sql, &[]).await {
            failed(sql, error);
        }
        if let Err(error) = inner.simple_query(sql).await {
            failed(sql, error);
        }
    }
    inner.rollback().await?;
    let portal = outer.bind("SELECT id, name FROM parent ORDER BY id", &[]).await?;
    show("portal", outer.query_portal(&portal, 2).await?);
    show("portal", outer.query_portal(&portal, 2).await?);
    show("portal", outer.query_portal(&portal, 0).await?);
    outer.commit().await?;
    let reading = client.build_transaction().read_only(true).deferrable(true).start().await?;
    if let Err(error) = reading.execute("DELETE FROM parent", &[]).await {
        failed("read only", error);
    }
    reading.rollback().await?;
    Ok(())
}

async fn copies(client: &Client) -> Outcome<()> {
    for text in ["90\tninety\n91\tx\n", "90\tagain\n", "x\ty\n"] {
        let sink = client.copy_in("COPY parent (id, name) FROM STDIN").await?;
        tokio::pin!(sink);
        let mut blocks = stream::iter([Ok::<_, tokio_postgres::Error>(Bytes::from(text))]);
        if let Err(error) = sink.send_all(&mut blocks).await {
            failed("copy", error);
            continue;
        }
        match sink.finish().await {
            Ok(count) => show("copied", count),
            Err(error) => failed("copy", error),
        }
    }
    let out = client.copy_out("COPY (SELECT id, name FROM parent ORDER BY id) TO STDOUT (FORMAT binary)").await?;
    let blocks: Vec<Bytes> = out.try_collect().await?;
    show("out", blocks.concat());
    if let Err(error) = client.copy_out("COPY nowhere TO STDOUT").await.map(|_| ()) {
        failed("copy", error);
    }
    Ok(())
}

async fn others(client: &Client) {
    simple(client, "LISTEN news").await;
    simple(client, "NOTIFY news, 'hello'").await; // heard before it is ready again
    simple(client, "UNLISTEN *").await;
    simple(client, "SET statement_timeout = 50").await;
    attempt(client, "SELECT pg_sleep(10)::text", &[]).await;
    simple(client, "SET statement_timeout = 0").await;
    let token = client.cancel_token();
    let cancelling = async {
        tokio::time::sleep(Duration::from_millis(400)).await;
        token.cancel_query(NoTls).await
    };
    let (_, cancelled) = future::join(simple(client, "SELECT pg_sleep(10)"), cancelling).await;
    show("cancelled", cancelled.is_ok());
    simple(client, "SELECT 1").await;
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    let mut config = Config::new();
    config.host(env::var("PGHOST")?).port(env::var("PGPORT")?.parse()?).user(env::var("PGUSER")?);
    config.password(env::var("PGPASSWORD")?).dbname(env::var("PGDATABASE")?).application_name("talk");
    config.ssl_mode(tokio_postgres::config::SslMode::Disable);
    let (mut client, connection) = config.connect(NoTls).await?;
    let running = tokio::spawn(async move {
        let mut connection = connection;
        let mut messages = stream::poll_fn(move |context| connection.poll_message(context));
        while let Some(Ok(message)) = messages.next().await {
            match message {
                tokio_postgres::AsyncMessage::Notice(notice) => show("notice", notice),
                tokio_postgres::AsyncMessage::Notification(news) => show("heard", (news.channel(), news.payload())),
                _ => {}
            }
        }
    });
    client.batch_execute(&fs::read_to_string(env::var("TALK_SCHEMA")?)?).await?;
    simple(&client, "SET search_path = talk, public").await;
    statements(&client).await?;
    transactions(&mut client).await?;
    copies(&client).await?;
    others(&client).await;
    simple(&client, "DROP SCHEMA talk CASCADE").await;
    drop(client);
    running.await?;
    Ok(())
}
