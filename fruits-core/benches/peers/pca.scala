// Spark's PCA of features and the projection on 50 components, for its shell: `pca.py` calls it.
import org.apache.spark.ml.feature.PCA
import org.apache.spark.ml.functions.{array_to_vector, vector_to_array}
import org.apache.spark.sql.functions.col

val rows = spark.read.parquet(spark.conf.get("spark.fruits.source")).withColumn("vector", array_to_vector(col("features")))
val pca = new PCA().setInputCol("vector").setOutputCol("projected").setK(50).fit(rows)
val projection = pca.transform(rows).select(col("path"), col("label"), vector_to_array(col("projected")).as("projection"))
projection.write.parquet(spark.conf.get("spark.fruits.out"))
println(pca.explainedVariance.toArray.mkString("{\"explained_variance_ratio\": [", ", ", "]}"))
sys.exit(0)
