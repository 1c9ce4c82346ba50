import java.io.StringReader;
import java.io.StringWriter;
import java.math.BigDecimal;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.*;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import org.postgresql.PGConnection;
import org.postgresql.PGNotification;
import org.postgresql.largeobject.LargeObject;
import org.postgresql.largeobject.LargeObjectManager;
import org.postgresql.util.PSQLException;
import org.postgresql.util.ServerErrorMessage;

/** pgjdbc: each of its query modes, server-prepared statements, fetch size, batches, metadata, COPY, large objects. */
public final class Talk {
    private static void show(String what, Object value) {
        System.out.println(what.substring(0, Math.min(60, what.length())) + ": " + value);
    }

    private static void failed(String what, SQLException error) {
        ServerErrorMessage told = error instanceof PSQLException known ? known.getServerErrorMessage() : null;
        show(what, told == null ? error.getClass().getSimpleName() + " " + error.getSQLState() + " " + error.getMessage()
            : told.getSQLState() + " " + told + " " + told.getFile() + " " + told.getLine() + " " + told.getRoutine());
    }

    private static List<String> rows(ResultSet result) throws SQLException {
        List<String> rows = new ArrayList<>();
        int columns = result.getMetaData().getColumnCount();
        while (result.next()) {
            StringBuilder row = new StringBuilder();
            for (int column = 1; column <= columns; column++) {
                String value = result.getString(column);
                row.append(value == null ? "NULL" : value.replaceAll("\\{[a-z]+@[0-9a-f]+\\}", "")).append(" | ");
            }
            rows.add(row.toString());
        }
        return rows;
    }

    private static void attempt(Connection connection, String sql, Object... values) {
        try (PreparedStatement statement = connection.prepareStatement(sql)) {
            for (int index = 0; index < values.length; index++) {
                statement.setObject(index + 1, values[index]);
            }
            boolean result = statement.execute();
            while (result || statement.getUpdateCount() >= 0) {
                show(sql, result ? rows(statement.getResultSet()) : statement.getUpdateCount());
                result = statement.getMoreResults();
            }
            for (SQLWarning warning = statement.getWarnings(); warning != null; warning = warning.getNextWarning()) {
                show("warning", warning.getMessage());
            }
        } catch (SQLException error) {
            failed(sql, error);
        }
    }

    private static final String[] WRONG = {
        "SELEC", "SELECT 1/0", "SELECT 'x'::int", "SELECT * FROM nowhere", "SELECT loud('hey')", "SELECT loud('error')",
        "INSERT INTO parent VALUES (1, 'x')", "INSERT INTO child (parent_id) VALUES (77)", "", ";", "SELECT 1; SELECT 2",
        "SELECT 1; SELECT 1/0; SELECT 3", "UPDATE parent SET name = name", "SELECT 1 WHERE 1 = 1 /* ? */",
    };

    private static void statements(Connection connection) throws SQLException {
        attempt(connection, "SELECT * FROM everything ORDER BY id");
        attempt(connection, "SELECT ?::int, ?::bigint, ?::numeric, ?::float8, ?::text, ?::bytea, ?::bool",
            1, 1L << 40, new BigDecimal("1.50"), 2.5, "wörds", new byte[] {0, -1}, true);
        try (PreparedStatement byId = connection.prepareStatement("SELECT name FROM parent WHERE id = ?")) {
            for (int id = 0; id < 9; id++) { // prepared by name at the fifth, binary from then on
                byId.setInt(1, id % 4);
                show("by id", rows(byId.executeQuery()));
            }
            attempt(connection, "ALTER TABLE parent ADD COLUMN added int");
            byId.setInt(1, 1);
            show("by id", rows(byId.executeQuery()));
            attempt(connection, "ALTER TABLE parent DROP COLUMN added");
            show("metadata", byId.getMetaData().getColumnName(1) + byId.getParameterMetaData().getParameterTypeName(1));
        }
        try (PreparedStatement wide = connection.prepareStatement("SELECT * FROM parent WHERE id = 1")) {
            for (int time = 0; time < 6; time++) {
                show("wide", rows(wide.executeQuery()));
            }
            attempt(connection, "ALTER TABLE parent ADD COLUMN added int");
            try {
                show("wide", rows(wide.executeQuery()));
            } catch (SQLException error) {
                failed("wide", error);
            }
            attempt(connection, "ALTER TABLE parent DROP COLUMN added");
        }
        for (String sql : WRONG) {
            attempt(connection, sql);
        }
    }

    private static void batches(Connection connection, boolean simple) throws SQLException {
        try (PreparedStatement insert = connection.prepareStatement("INSERT INTO parent VALUES (?, ?)");
            PreparedStatement keys = connection.prepareStatement(
                "INSERT INTO child (parent_id, quantity) VALUES (?, ?)", Statement.RETURN_GENERATED_KEYS);
            Statement plain = connection.createStatement()) {
            for (int id = 60; id < 70; id++) {
                insert.setInt(1, id);
                insert.setString(2, "n" + id);
                insert.addBatch();
            }
            show("batch", insert.executeBatch().length);
            for (int id : new int[] {70, 1, 71}) {
                insert.setInt(1, id);
                insert.setString(2, "m" + id);
                insert.addBatch();
            }
            try {
                insert.executeBatch();
            } catch (BatchUpdateException error) {
                show("batch", java.util.Arrays.toString(error.getUpdateCounts()) + error.getMessage());
            }
            for (int id : new int[] {60, 61}) {
                keys.setInt(1, id);
                keys.setInt(2, id);
                keys.addBatch();
            }
            keys.executeBatch();
            show("keys", rows(keys.getGeneratedKeys()).size());
            plain.addBatch("UPDATE parent SET name = 'x' || id WHERE id = 60");
            plain.addBatch("DELETE FROM parent WHERE id > 61");
            show("plain", java.util.Arrays.toString(plain.executeBatch()));
        }
        if (simple) {
            return; // the driver itself writes calls of functions wrongly there
        }
        try (CallableStatement call = connection.prepareCall("{? = call twice(?)}");
            CallableStatement procedure = connection.prepareCall("call raise_all(?)")) {
            call.registerOutParameter(1, Types.INTEGER);
            call.setInt(2, 21);
            call.execute();
            show("call", call.getInt(1));
            procedure.setInt(1, 1);
            show("procedure", procedure.execute());
        }
    }

    private static void transactions(Connection connection) throws SQLException {
        connection.setAutoCommit(false);
        try (PreparedStatement fetching = connection.prepareStatement("SELECT id, name FROM parent ORDER BY id")) {
            fetching.setFetchSize(2);
            show("fetched", rows(fetching.executeQuery()));
        }
        try (Statement scrolling = connection.createStatement(ResultSet.TYPE_SCROLL_INSENSITIVE, ResultSet.CONCUR_UPDATABLE)) {
            ResultSet result = scrolling.executeQuery("SELECT id, name FROM parent WHERE id = 1");
            result.next();
            result.updateString("name", "updated");
            result.updateRow();
        }
        Savepoint savepoint = connection.setSavepoint("here");
        attempt(connection, "SELECT 1/0");
        for (String sql : new String[] {"SELECT 1", "SELEC", "SELECT id FROM child", "SELECT * FROM nowhere"}) {
            attempt(connection, sql);
        }
        connection.rollback(savepoint);
        attempt(connection, "SELECT count(*) FROM parent");
        connection.commit();
        connection.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
        connection.setReadOnly(true);
        attempt(connection, "DELETE FROM parent");
        connection.rollback();
        connection.setReadOnly(false);
        connection.setTransactionIsolation(Connection.TRANSACTION_READ_COMMITTED);
        attempt(connection, "DECLARE c CURSOR FOR SELECT id FROM parent ORDER BY id");
        attempt(connection, "FETCH 2 FROM c");
        connection.commit();
        LargeObjectManager objects = connection.unwrap(PGConnection.class).getLargeObjectAPI();
        long oid = objects.createLO();
        try (LargeObject object = objects.open(oid)) {
            object.write("0123456789".repeat(1000).getBytes());
            object.seek(5);
            show("large object", new String(object.read(10)) + object.size());
        }
        objects.delete(oid);
        connection.commit();
        connection.setAutoCommit(true);
    }

    private static void metadata(Connection connection) throws SQLException {
        DatabaseMetaData data = connection.getMetaData();
        show("product", data.getDatabaseProductVersion() + data.getMaxColumnNameLength());
        show("schemas", rows(data.getSchemas()));
        show("tables", rows(data.getTables(null, "talk", "%", null)));
        show("columns", rows(data.getColumns(null, "talk", "%", "%")));
        show("keys", rows(data.getPrimaryKeys(null, "talk", "parent")));
        show("foreign", rows(data.getImportedKeys(null, "talk", "child")));
        show("foreign", rows(data.getExportedKeys(null, "talk", "parent")));
        show("indexes", rows(data.getIndexInfo(null, "talk", "parent", false, false)));
        show("types", rows(data.getTypeInfo()).size());
        show("functions", rows(data.getFunctions(null, "talk", "%")));
        show("procedures", rows(data.getProcedures(null, "talk", "%")));
        show("arguments", rows(data.getFunctionColumns(null, "talk", "%", "%")));
        show("privileges", rows(data.getTablePrivileges(null, "talk", "%")));
        show("types", rows(data.getUDTs(null, "talk", "%", null)));
        show("clients", rows(data.getClientInfoProperties()));
        show("keywords", data.getSQLKeywords().length());
    }

    private static void others(Connection connection) throws Exception {
        PGConnection own = connection.unwrap(PGConnection.class);
        show("copied", own.getCopyAPI().copyIn("COPY parent (id, name) FROM STDIN", new StringReader("90\tninety\n")));
        for (String text : new String[] {"90\tagain\n", "x\ty\n"}) {
            try {
                own.getCopyAPI().copyIn("COPY parent (id, name) FROM STDIN", new StringReader(text));
            } catch (SQLException error) {
                failed("copy", error);
            }
        }
        StringWriter out = new StringWriter();
        own.getCopyAPI().copyOut("COPY (SELECT id, name FROM parent ORDER BY id) TO STDOUT CSV HEADER", out);
        show("out", out);
        attempt(connection, "LISTEN news");
        attempt(connection, "NOTIFY news, 'hello'");
        for (PGNotification heard : own.getNotifications(5000)) {
            show("heard", heard.getName() + " " + heard.getParameter());
        }
        try (Statement slow = connection.createStatement()) {
            slow.setQueryTimeout(1);
            slow.execute("SELECT pg_sleep(10)");
        } catch (SQLException error) {
            failed("timeout", error);
        }
        attempt(connection, "SET statement_timeout = 50");
        attempt(connection, "SELECT pg_sleep(10)");
        attempt(connection, "RESET statement_timeout");
        show("valid", connection.isValid(5));
        connection.setSchema("public");
        attempt(connection, "SHOW search_path");
        connection.setClientInfo("ApplicationName", "renamed");
        attempt(connection, "SHOW application_name");
    }

    public static void main(String[] arguments) throws Exception {
        String address = "jdbc:postgresql://" + System.getenv("PGHOST") + ":" + System.getenv("PGPORT") + "/" + System.getenv("PGDATABASE");
        String schema = Files.readString(Path.of(System.getenv("TALK_SCHEMA")));
        for (String mode : new String[] {"extended", "extendedForPrepared", "extendedCacheEverything", "simple"}) {
            Properties properties = new Properties();
            properties.setProperty("user", System.getenv("PGUSER"));
            properties.setProperty("password", System.getenv("PGPASSWORD"));
            properties.setProperty("sslmode", "disable");
            properties.setProperty("gssEncMode", "disable");
            properties.setProperty("preferQueryMode", mode);
            show("mode", mode);
            try (Connection connection = DriverManager.getConnection(address, properties)) {
                try (Statement statement = connection.createStatement()) {
                    statement.execute(schema);
                }
                attempt(connection, "SET search_path = talk, public");
                statements(connection);
                batches(connection, mode.equals("simple"));
                transactions(connection);
                if (mode.equals("extended")) {
                    metadata(connection);
                }
                if (!mode.equals("simple")) {
                    others(connection);
                }
                attempt(connection, "DROP SCHEMA talk CASCADE");
            }
        }
    }
}
