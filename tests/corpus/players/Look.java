// pgjdbc looks around: start-up and every question of DatabaseMetaData that tools ask; then it reads.
import java.sql.*;
import java.util.Map;

public class Look {
  static void all(ResultSet found) throws SQLException {
    try (found) { while (found.next()) { found.getString(1); } }
  }

  public static void main(String[] args) throws Exception {
    Map<String, String> e = System.getenv();
    String url = "jdbc:postgresql://" + e.get("PGHOST") + ":" + e.get("PGPORT") + "/" + e.get("PGDATABASE")
        + "?sslmode=disable&gssEncMode=disable";
    try (Connection c = DriverManager.getConnection(url, e.get("PGUSER"), e.get("PGPASSWORD"))) {
      DatabaseMetaData m = c.getMetaData();
      m.getDatabaseProductVersion();
      m.getMaxColumnNameLength();
      m.getSQLKeywords();
      all(m.getSchemas());
      all(m.getCatalogs());
      all(m.getTableTypes());
      all(m.getTypeInfo());
      for (String schema : new String[] {"public", "shop", "other"}) {
        all(m.getTables(null, schema, "%", null));
        all(m.getColumns(null, schema, "%", "%"));
        all(m.getFunctions(null, schema, "%"));
        all(m.getProcedures(null, schema, "%"));
        all(m.getUDTs(null, schema, "%", null));
      }
      for (String table : new String[] {"patients", "wards", "visits"}) {
        all(m.getPrimaryKeys(null, "public", table));
        all(m.getImportedKeys(null, "public", table));
        all(m.getExportedKeys(null, "public", table));
        all(m.getIndexInfo(null, "public", table, false, true));
        all(m.getTablePrivileges(null, "public", table));
        all(m.getColumnPrivileges(null, "public", table, "%"));
        all(m.getBestRowIdentifier(null, "public", table, DatabaseMetaData.bestRowSession, true));
        all(m.getVersionColumns(null, "public", table));
      }
      try (PreparedStatement s = c.prepareStatement("SELECT id, name FROM patients WHERE status = ? ORDER BY id")) {
        for (int i = 0; i < 7; i++) { s.setString(1, i % 2 == 0 ? "open" : "closed"); all(s.executeQuery()); }
        ResultSetMetaData r = s.getMetaData();
        r.getColumnTypeName(1);
        ((org.postgresql.PGResultSetMetaData) r).getBaseTableName(2);
        r.isAutoIncrement(1);
        r.isNullable(2);
      }
      c.setAutoCommit(false);
      c.setReadOnly(true);
      try (Statement s = c.createStatement()) {
        s.setFetchSize(50);
        all(s.executeQuery("SELECT id, state, placed, amount FROM shop.orders ORDER BY id"));
        all(s.executeQuery("SELECT w.name, count(*) FROM wards w JOIN patients p ON p.ward = w.id GROUP BY 1 ORDER BY 1"));
      }
      c.commit();
      c.isValid(2);
    }
  }
}
